"""From what a client asks for to what the engine gets."""

from __future__ import annotations

import pytest

from drover.thinking import always_on, from_json, gpt_oss_levels, on_or_off
from drover.v1 import engine_pb2 as pb
from frontend.api.core.thinking import Think, effort_of, resolved

_ALIASES = {"minimal": "low", "low": "low", "medium": "medium", "high": "high", "xhigh": "max", "max": "max"}
_ON, _OFF, _UNSET = pb.Think.ON, pb.Think.OFF, pb.Think.UNSET
_QUIET = from_json({"values": [False, True], "default": False})
_NAMED = from_json({"values": [False, "medium", "xhigh"], "default": "medium"})


def _effort(word: str) -> Think:
    return effort_of(word, _ALIASES, "effort")


@pytest.mark.parametrize(
    ("think", "known", "mode", "level"),
    [
        (None, None, _ON, ""),
        (Think(True), None, _ON, ""),
        (Think(False), None, _OFF, ""),
        (Think(True, "low"), None, _ON, "low"),
        (Think(True, "LOW"), None, _ON, ""),
        (Think(True, "deepest"), None, _ON, ""),
        (None, gpt_oss_levels(), _ON, "medium"),
        (Think(True), gpt_oss_levels(), _ON, ""),
        (Think(False), gpt_oss_levels(), _OFF, ""),
        (Think(True, "high"), gpt_oss_levels(), _ON, "high"),
        (Think(True, "High"), gpt_oss_levels(), _ON, "medium"),
        (Think(True, "max"), gpt_oss_levels(), _ON, "medium"),
        (None, on_or_off(), _ON, ""),
        (Think(True, "high"), on_or_off(), _ON, ""),
        (Think(False), always_on(), _OFF, ""),
        (None, _QUIET, _OFF, ""),
        (Think(True), _QUIET, _ON, ""),
        (Think(True, "high"), _QUIET, _OFF, ""),
        (Think(True, "xhigh"), _NAMED, _ON, "xhigh"),
    ],
)
def test_think(
    think: Think | None, known: pb.Thinking | None, mode: pb.Think.Mode.ValueType, level: str
) -> None:
    assert resolved(think, known, can_think=True) == pb.Think(mode=mode, level=level)


@pytest.mark.parametrize(
    ("effort", "known", "level"),
    [
        ("minimal", None, "low"),
        ("xhigh", None, "max"),
        ("heroic", None, ""),
        ("minimal", gpt_oss_levels(), "low"),
        ("xhigh", gpt_oss_levels(), "high"),
        ("max", gpt_oss_levels(), "high"),
        ("heroic", gpt_oss_levels(), "medium"),
        ("xhigh", _NAMED, "xhigh"),
        ("high", _NAMED, "xhigh"),
        ("low", _NAMED, "medium"),
        ("high", on_or_off(), ""),
        ("high", _QUIET, ""),
    ],
)
def test_an_effort_means_the_nearest_name(effort: str, known: pb.Thinking | None, level: str) -> None:
    assert resolved(_effort(effort), known, can_think=True) == pb.Think(mode=_ON, level=level)


def test_an_effort_of_none_and_an_unknown_one() -> None:
    assert resolved(_effort("none"), gpt_oss_levels(), can_think=True) == pb.Think(mode=_OFF)
    assert resolved(_effort("heroic"), _QUIET, can_think=True) == pb.Think(mode=_OFF)
    assert resolved(_effort("heroic"), None, can_think=False) == pb.Think(mode=_UNSET)


def test_what_a_model_that_cannot_think_refuses() -> None:
    assert Think(True).insists
    assert Think(True, "deepest").insists
    assert _effort("high").insists
    assert not _effort("heroic").insists
    assert not Think(False).insists
