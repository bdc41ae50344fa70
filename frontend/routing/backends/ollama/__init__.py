"""A model on an Ollama server as one more worker of the fleet: the reverse of the Ollama dialect."""
