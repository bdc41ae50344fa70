"""Ollama's parser of Modelfiles, as far as its commands and quotes go: what `ollama create -f` reads.

A value ends at the first line end where its text, without spaces around it, has no open quote.
"""

from __future__ import annotations

_COMMANDS = (
    "from",
    "license",
    "template",
    "system",
    "adapter",
    "renderer",
    "parser",
    "parameter",
    "message",
    "requires",
)


def commands(text: str) -> list[tuple[str, str]]:
    """In their order. A parameter goes by its own name, a message is `role: content`."""
    read: list[tuple[str, str]] = []
    rest = text
    while rest:
        line, _, after = rest.partition("\n")
        word, _, value = line.strip().partition(" ")
        if not word or word.startswith("#"):
            rest = after
            continue
        name = word.lower()
        assert name in _COMMANDS, f"unknown command {word!r}"
        value = f"{value}\n{after}" if after else value
        if name in ("parameter", "message"):
            key, _, value = value.lstrip(" ").partition(" ")
        content, rest = _value(value)
        if name == "message":
            read.append((name, f"{key}: {content}"))
        else:
            read.append((key if name == "parameter" else name, content))
    return read


def _value(text: str) -> tuple[str, str]:
    """Of the text after a command: its value, and what is left."""
    end = -1
    while True:
        end = text.find("\n", end + 1)
        end = len(text) if end < 0 else end
        content, closed = _unquoted(text[:end].strip())
        if closed:
            return content, text[end + 1 :]
        assert end < len(text), f"a quote is not closed: {text[:80]!r}"


def _unquoted(text: str) -> tuple[str, bool]:
    if text.startswith('"""'):
        return text[3:-3], len(text) >= 6 and text.endswith('"""')
    if text.startswith('"'):
        return text[1:-1], len(text) >= 2 and text.endswith('"')
    return text, True
