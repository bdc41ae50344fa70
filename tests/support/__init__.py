"""What several kinds of tests share: processes of both tiers, and waiting with a deadline."""
