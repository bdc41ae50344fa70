"""Go's text/template as Ollama's Modelfiles carry it, bounded in time and memory."""
