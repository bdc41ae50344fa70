"""Backends: how a worker is reached. One folder per transport; base.py is the interface."""
