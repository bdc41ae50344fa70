"""Helpers shared by several kinds of tests: processes of both tiers, and waiting with a deadline."""
