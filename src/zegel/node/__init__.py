"""What makes a process a zone: configuration, links, supervisor, data directory, switches."""
