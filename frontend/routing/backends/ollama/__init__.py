"""Models on Ollama servers as workers of the fleet: the client side of Ollama's protocol."""
