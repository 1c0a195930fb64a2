"""What `zegel bench` measures, a file per part of the path."""
