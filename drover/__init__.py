"""What both tiers share: the generated contract (`v1`), errors, settings, logs and the gRPC boundary."""
