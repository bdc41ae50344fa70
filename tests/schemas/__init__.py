"""Schemas that programs write for their types, as data: `make schemas-data` writes them again."""
