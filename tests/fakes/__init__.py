"""Stand-ins for the other tier, and what a real Ollama was recorded to say."""
