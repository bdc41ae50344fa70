"""Routing of requests to workers: failover -> scheduler -> registry -> backends."""
