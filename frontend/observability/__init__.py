"""What the frontend says about itself: request ids and the request log."""
