"""Tracing, without a collector."""
