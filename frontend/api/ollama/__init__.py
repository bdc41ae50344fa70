"""Ollama's own protocol (`/api/...`)."""
