"""Between a request and a model's text: thinking, tool calls, stop texts, continuations, context windows."""
