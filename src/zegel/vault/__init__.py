"""The zone that holds keys: it opens frames and hands keys to nobody."""
