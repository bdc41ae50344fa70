"""TLS of both tiers: certificates in files, read again when they change."""
