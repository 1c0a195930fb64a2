"""The other side of the wire: simulated houses, their meters, and how they push."""
