"""Development and single-host tasks; the Makefile calls them."""
