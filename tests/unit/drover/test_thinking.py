"""Ollama's show.thinking, written and read."""

from __future__ import annotations

import pytest

from drover.json_value import Json
from drover.thinking import always_on, from_json, gpt_oss_levels, on_or_off, to_json


def test_written() -> None:
    assert to_json(on_or_off()) == {"values": [False, True], "default": True}
    assert to_json(always_on()) == {"values": [True], "default": True}
    assert to_json(gpt_oss_levels()) == {"values": ["low", "medium", "high"], "default": "medium"}


@pytest.mark.parametrize(
    "value", [{"values": [False, "low", True], "default": "low"}, {"values": [False], "default": False}]
)
def test_read_and_written_again(value: Json) -> None:
    thinking = from_json(value)
    assert thinking is not None
    assert to_json(thinking) == value


@pytest.mark.parametrize(
    "value",
    [
        None,
        [],
        "high",
        {},
        {"values": [], "default": True},
        {"values": [True], "default": False},
        {"values": [True, True], "default": True},
        {"values": ["", True], "default": True},
        {"values": [1, True], "default": True},
        {"values": [True], "default": 1},
        {"values": [[True]], "default": True},
        {"values": "high", "default": "high"},
    ],
)
def test_what_ollama_would_not_say_is_not_read(value: Json) -> None:
    assert from_json(value) is None
