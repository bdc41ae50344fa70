"""The frontend: protocol dialects over HTTP in front of a fleet of engine workers."""
