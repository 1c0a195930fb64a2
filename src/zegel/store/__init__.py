"""The store zone: frames in, fates and readings out. Holds no key of a meter and no network."""
