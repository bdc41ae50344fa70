"""Models on demand over two hosts: `make bench-pool`."""
