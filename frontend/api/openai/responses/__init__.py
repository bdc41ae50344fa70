"""OpenAI's Responses API: another envelope around what the native routes do.

Contract: ollama-contract.md, "OpenAI: responses".
"""
