"""OpenAI's API under /v1, as Ollama has it and with what it lacks (ollama-contract.md, "OpenAI: errors")."""
