"""The command `zegel`: one file per command; results to stdout, all else to stderr."""
