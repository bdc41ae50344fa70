"""Anthropic's Messages API: another envelope around what the native routes do.

Contract: ollama-contract.md, "Anthropic: messages".
"""
