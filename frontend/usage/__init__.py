"""What clients used: requests, tokens and seconds, per day, key and model."""
