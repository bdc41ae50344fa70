"""Model files by their digests, and the manifests that make models of them: Ollama's layout on disk."""
