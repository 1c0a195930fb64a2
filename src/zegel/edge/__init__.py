"""Zone edge: faces the WAN. Receives sealed frames, makes them durable, says so. Holds no key."""
