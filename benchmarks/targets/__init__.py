"""Servers under measurement: processes that serve numbered tokens at a known rate."""
