"""The prompt: how a conversation is fitted into the context window and rendered."""
