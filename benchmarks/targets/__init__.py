"""What is measured: servers that offer numbered tokens at a known rate, as processes."""
