"""ZONE that faces people and programs: the API. It holds no key and no reading at rest."""
