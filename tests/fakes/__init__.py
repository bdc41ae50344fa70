"""Fakes of the other tier, and recordings of a real Ollama."""
