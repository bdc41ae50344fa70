"""Virtual models: rules and an LLM judge send a request to a model for simple or for complex ones."""
