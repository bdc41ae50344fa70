"""ASGI middleware around all routes, outermost first: log, body memory, origins, hosts."""
