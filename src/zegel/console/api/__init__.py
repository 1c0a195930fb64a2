"""The HTTP API: routes, documents and errors (docs/reference/api.md is made from it)."""
