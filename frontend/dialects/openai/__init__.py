"""OpenAI's protocol as Ollama speaks it under /v1 (ollama-api.md section 5), and what upstream leaves out."""
