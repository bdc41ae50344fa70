"""Where models come from: registries in Ollama's form, and hubs in Hugging Face's."""
