"""Anthropic's Messages API, translated to and from the neutral request and events.

Contract: ollama-contract.md, "Anthropic: messages".
"""
