"""SGLang's SmartRouter as a client library: two Ollama servers, no frontend."""
