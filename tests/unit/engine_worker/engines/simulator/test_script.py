from __future__ import annotations

import json
from pathlib import Path

import pytest

from engine_worker.engines.simulator import ScriptError, SimulatorConfig, SimulatorEngine
from engine_worker.engines.simulator.script import Event, Fail, Pause, Piece, ScriptedCall, Scripts
from engine_worker.engines.simulator.tokens import Tokenizer

TOKENIZER = Tokenizer(3)


def piece(text: str, thinking: bool = False) -> Piece:
    return Piece(tuple(TOKENIZER.encode(text)), text.encode(), thinking)


def read(directory: Path, value: object) -> Scripts:
    path = directory / "script.json"
    path.write_text(json.dumps(value), encoding="utf-8")
    return Scripts.read(path, TOKENIZER)


def test_the_first_entry_that_is_contained_plays(tmp_path: Path) -> None:
    scripts = read(
        tmp_path,
        [{"match": "#one", "events": []}, {"match": "#o", "events": []}, {"match": "", "events": []}],
    )
    assert [scripts.find(question) for question in ("so #one", "#other", "what?")] == list(scripts.entries)
    assert Scripts().find("#one") is None


def test_every_kind_of_event_is_read(tmp_path: Path) -> None:
    events = [
        {"thinking": "Hm 🐑"},
        {"repeat": 3, "text": "ab"},
        {"pause_ms": 1.5},
        {"tool_call": {"name": "look", "arguments": {"where": "hill"}, "id": "x1"}},
        {"fail": "out of memory"},
    ]
    scripts = read(tmp_path, [{"match": "", "events": events}])
    (script,) = scripts.entries
    call_ids = tuple(TOKENIZER.encode('{"name": "look", "arguments": {"where": "hill"}}'))
    expected: list[Event] = [
        piece("Hm 🐑", thinking=True),
        *[piece("ab")] * 3,
        Pause(1.5),
        ScriptedCall("look", '{"where": "hill"}', "x1", call_ids),
        Fail("out of memory"),
    ]
    assert list(script.play()) == expected
    assert script.tokens == 3 + 3 + len(call_ids)
    assert scripts.think
    assert scripts.call_tools


def test_a_script_of_text_neither_thinks_nor_calls(tmp_path: Path) -> None:
    scripts = read(tmp_path, [{"match": "", "events": [{"text": "a"}]}])
    assert not scripts.think
    assert not scripts.call_tools


EVENT = "entry 0: event 0: "


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ({}, "it must be a list of entries"),
        (["a"], "entry 0: it must be an object"),
        ([{"events": []}], "entry 0: `match` is missing"),
        ([{"match": "", "events": []}, {"match": ""}], "entry 1: `events` is missing"),
        ([{"match": 1, "events": []}], "entry 0: `match` must be a text (it is 1)"),
        ([{"match": "", "events": {}}], "entry 0: `events` must be a list"),
        ([{"match": "", "events": [], "if": 1}], "entry 0: `if` is not known here"),
        ([{"match": "", "events": [{"text": ""}, []]}], "entry 0: event 1: it must be an object"),
        ([{"match": "", "events": [{"say": ""}]}], f"{EVENT}`say` is not known here"),
        ([{"match": "", "events": [{}]}], f"{EVENT}it must have exactly one of text, "),
        ([{"match": "", "events": [{"text": "", "fail": ""}]}], f"{EVENT}it must have exactly one of text, "),
        ([{"match": "", "events": [{"text": 1}]}], f"{EVENT}`text` must be a text (it is 1)"),
        ([{"match": "", "events": [{"text": "\ud83d"}]}], f"{EVENT}it holds half of a surrogate pair"),
        ([{"match": "", "events": [{"pause_ms": -1}]}], f"{EVENT}`pause_ms` must be a number, 0 or more"),
        ([{"match": "", "events": [{"hang_ms": -1}]}], f"{EVENT}`hang_ms` must be a number, 0 or more"),
        ([{"match": "", "events": [{"pause_ms": True}]}], f"{EVENT}`pause_ms` must be a number, 0 or more"),
        ([{"match": "", "events": [{"repeat": 0, "text": ""}]}], f"{EVENT}`repeat` must be a whole number"),
        ([{"match": "", "events": [{"tool_call": {"name": "a"}}]}], f"{EVENT}`arguments` is missing"),
        (
            [{"match": "", "events": [{"tool_call": {"name": "a", "arguments": []}}]}],
            f"{EVENT}`arguments` must be an object",
        ),
    ],
)
def test_a_bad_file_is_named_with_entry_and_reason(tmp_path: Path, value: object, reason: str) -> None:
    with pytest.raises(ScriptError) as caught:
        read(tmp_path, value)
    assert str(caught.value).startswith(f"script {tmp_path / 'script.json'}: {reason}")


@pytest.mark.parametrize("content", [b"[", b"\xff"])
async def test_an_unreadable_file_stops_the_start(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "script.json"
    path.write_bytes(content)
    with pytest.raises(ScriptError, match="it is not JSON"):
        await SimulatorEngine(["sim"], SimulatorConfig(script_path=path)).start()


async def test_a_missing_file_stops_the_start(tmp_path: Path) -> None:
    with pytest.raises(ScriptError, match="it cannot be read: No such file"):
        await SimulatorEngine(["sim"], SimulatorConfig(script_path=tmp_path / "none.json")).start()
