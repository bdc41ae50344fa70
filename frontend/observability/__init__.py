"""Metrics and the record of each request."""
