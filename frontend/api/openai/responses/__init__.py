"""OpenAI's Responses API, translated to and from the neutral request and events.

Contract: ollama-contract.md, "OpenAI: responses".
"""
