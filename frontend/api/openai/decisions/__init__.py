"""POST /v1/decisions: OpenAI's shape, and SGLang's own at the same path (ollama-contract.md, "Decisions")."""
