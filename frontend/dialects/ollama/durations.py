"""`keep_alive` as clients send it (ollama-contract.md, "Keep-alive, load and unload")."""

from __future__ import annotations

from drover.durations import FOREVER_NS, NS_PER_SECOND, clamped_ns, parse_go_duration
from drover.errors import InvalidRequest
from frontend.dialects.ollama.go_json import Json

_GO_TYPES: list[tuple[type, str]] = [
    (bool, "bool"),
    (list, "[]interface {}"),
    (dict, "map[string]interface {}"),
]


def keep_alive_ns(value: Json) -> int:
    """Nanoseconds; every negative duration means for ever. Raises InvalidRequest in Go's words."""
    for python_type, go_type in _GO_TYPES:
        if isinstance(value, python_type):
            raise InvalidRequest(f"Unsupported type: '{go_type}'")
    if isinstance(value, str):
        nanoseconds = parse_go_duration(value)
    else:
        assert isinstance(value, int | float)
        nanoseconds = clamped_ns(value * NS_PER_SECOND)
    return FOREVER_NS if nanoseconds < 0 else nanoseconds
