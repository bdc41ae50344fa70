"""What the frontend refuses."""
