"""The measurements of `make bench`, one a module."""
