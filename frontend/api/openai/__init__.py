"""OpenAI's API under /v1, as Ollama implements it, with extensions (ollama-contract.md, "OpenAI: errors")."""
