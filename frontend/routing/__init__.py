"""The workers: which there are, what they serve, and requests to them as handles."""
