"""Limits of keys, which hold over all frontends of one database."""
