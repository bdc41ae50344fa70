"""What is read of a config.json, which may say anything."""

from __future__ import annotations

from collections.abc import Mapping


def text_config(config: Mapping[str, object]) -> Mapping[str, object]:
    """Vision models have the language model's numbers in a part of their own, or some of them."""
    text = config.get("text_config")
    return {**config, **text} if isinstance(text, Mapping) else config


def integer(config: Mapping[str, object], key: str) -> int:
    """0 if there is none."""
    value = config.get(key)
    return value if isinstance(value, int) and not isinstance(value, bool) else 0
