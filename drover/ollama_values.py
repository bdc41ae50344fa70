"""Values of Ollama's environment variables (docs/reference/ollama-contract.md, "Environment variables").

Each reader returns None where the variable leaves a setting at its default.
"""

from __future__ import annotations

from drover.durations import NS_PER_SECOND, parse_duration_or_seconds
from drover.errors import InvalidRequest

_LARGEST = 2**64 - 1
# The values that Go's strconv.ParseBool takes for false.
_FALSE = frozenset({"0", "f", "F", "false", "FALSE", "False"})


class Ignored(Exception):
    """A value that has no effect; the text is the reason, for the log."""


def any_text(value: str) -> str | None:
    return value.strip() or None


def whole_number(value: str) -> int:
    if not (value.isascii() and value.isdecimal()) or int(value) > _LARGEST:
        raise Ignored("it must be a whole number")
    return int(value)


def whole_number_or_default(value: str) -> int | None:
    """None for 0, which means Ollama's own default."""
    return whole_number(value) or None


def debug_level(value: str) -> str | None:
    """Anything but a false boolean counts as true."""
    return None if value in _FALSE else "debug"


def duration(value: str) -> str:
    _nanoseconds(value)
    return value


def limit_in_seconds(value: str) -> float:
    """Seconds, 0 for no limit, which Ollama writes as a negative value too."""
    return max(0, _nanoseconds(value)) / NS_PER_SECOND


def _nanoseconds(value: str) -> int:
    try:
        return parse_duration_or_seconds(value)
    except InvalidRequest as error:
        raise Ignored(error.message) from error
