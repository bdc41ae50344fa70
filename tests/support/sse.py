"""Parses server-sent events."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

Event = tuple[str, dict[str, Any]]


def events_of(stream: str) -> list[Event]:
    """Each event with its name and its data. Fails on anything but whole events."""
    assert stream == "" or stream.endswith("\n\n"), stream[-200:]
    return list(_events(stream))


def _events(stream: str) -> Iterator[Event]:
    for block in stream.removesuffix("\n\n").split("\n\n") if stream else ():
        name, _, data = block.partition("\n")
        assert name.startswith("event: "), block
        assert data.startswith("data: "), block
        value = json.loads(data.removeprefix("data: "))
        assert value["type"] == name.removeprefix("event: ")
        yield value["type"], value
