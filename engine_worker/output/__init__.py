"""Parse a model's output: thinking, tool calls, stop texts, and what resumed answers already delivered."""
