"""Models as clients see them."""
