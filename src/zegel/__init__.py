"""Zegel: a central reading system for smart meters, and the assurance that proves its claims."""

__version__ = "0.1.0"
