"""A load client that is cheap enough to share a machine with what it measures."""
