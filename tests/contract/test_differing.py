"""Every request on which this server once differed from a real Ollama, sent again in the recorded order."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from typing import Any

import httpx
import jsonschema_rs
import pytest
from pydantic_core import from_json

from tests.contract.comparison import JsonValue
from tests.contract.conftest import PARAMETERS, TEMPLATE
from tests.contract.differing import Answer, Row, ask, differences, rows
from tests.contract.differing_tables import DELIBERATE, KEPT_SCHEMAS, NESTED_ORDER, NOT_REPLAYED, SHORTENED
from tests.contract.fleet import WORDS
from tests.support.processes import frontend, worker
from tests.support.scripted_gguf import THINKING_AND_TOOLS, write_scripted_gguf

_JOINED_SECONDS = 60.0
_MODELS = 3


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """SmolLM2 as `smol` and, embedding, as `vec`, and the small GGUF that thinks and calls as `think`."""
    folder = tmp_path_factory.mktemp("differing")
    (folder / "smol.gotmpl").write_text(TEMPLATE)
    write_scripted_gguf(folder / "think.gguf", THINKING_AND_TOOLS, *WORDS)
    length = "--context-length=2048"
    smol = (f"--chat-template={folder / 'smol.gotmpl'}", f"--parameters={json.dumps(PARAMETERS)}")
    think = ("--engine=llamacpp", f"--model={folder / 'think.gguf'}", "--slots=2")
    with ExitStack() as processes:
        begin = processes.enter_context
        workers = [
            begin(worker(folder / "smol.log", "--name=smol:latest", length, *smol)),
            begin(worker(folder / "vec.log", "--name=vec", "--task=embed", length)),
            begin(worker(folder / "think.log", "--name=think", *think)),
        ]
        front = begin(frontend(folder / "frontend.log", [each.address for each in workers]))
        deadline = time.monotonic() + _JOINED_SECONDS
        while len(httpx.get(f"http://{front.address}/api/tags").json()["models"]) < _MODELS:
            assert time.monotonic() < deadline, "not all workers have joined"
            time.sleep(0.05)
        yield front.address


@pytest.fixture(scope="module")
def answers(address: str) -> Mapping[int, Answer]:
    """Ours, by number."""
    return {row.number: _replayed(address, row) for row in rows() if row.number not in NOT_REPLAYED}


def _replayed(address: str, row: Row) -> Answer:
    for request in row.before:
        ask(address, request)
    return ask(address, row.request)


@pytest.mark.parametrize("row", [row for row in rows() if row.number not in NOT_REPLAYED], ids=str)
def test_the_answer_is_ollamas(row: Row, answers: Mapping[int, Answer]) -> None:
    found = differences(row, answers[row.number])
    if row.number in DELIBERATE:
        assert found, "it does not differ any more: remove it from differing_tables.py"
    else:
        assert found == []


@pytest.mark.parametrize("row", [row for row in rows() if row.number in KEPT_SCHEMAS], ids=str)
def test_another_answer_keeps_the_schema(row: Row, answers: Mapping[int, Answer]) -> None:
    """But for the keyword that the header names. Of one that was cut, what is complete of it."""
    answer, dropped = answers[row.number], KEPT_SCHEMAS[row.number]
    body = json.loads(answer.body)

    named = answer.headers.get("x-drover-not-honoured", [])
    assert named == ([f"format.{dropped}"] if dropped else [])
    value = from_json(body["message"]["content"], allow_partial=body["done_reason"] == "length")
    schema = _without(row.request["body"]["format"], dropped)
    assert isinstance(schema, dict)
    validator = jsonschema_rs.validator_for(schema, validate_formats=True)
    assert [str(error) for error in validator.iter_errors(value)] == []


def _without(schema: JsonValue, keyword: str) -> JsonValue:
    """None of these schemas has a property of that name."""
    match schema:
        case dict():
            return {key: _without(value, keyword) for key, value in schema.items() if key != keyword}
        case list():
            return [_without(value, keyword) for value in schema]
        case _:
            return schema


@pytest.mark.parametrize("row", [row for row in rows() if row.number in NESTED_ORDER], ids=str)
def test_a_prompt_differs_in_the_order_within_calls_alone(row: Row, answers: Mapping[int, Answer]) -> None:
    ours, theirs = _calls_apart(answers[row.number].body), _calls_apart(row.answer["body"])
    assert ours == theirs
    assert len(ours) == 5


def _calls_apart(body: str) -> list[Any]:
    """Of a rendered prompt: texts, and the calls between them as objects."""
    text = json.loads(body)["_debug_info"]["rendered_template"]
    parts = re.split(r"(?<=<tool_call>\n)(.*)(?=\n</tool_call>)", text)
    return [json.loads(part) if at % 2 else part for at, part in enumerate(parts)]


def test_a_shortened_prompt_is_as_long_as_ollamas(answers: Mapping[int, Answer]) -> None:
    """130 of 256 without num_keep; with it that and half of what is left."""
    body = json.loads(answers[SHORTENED].body)
    recorded = json.loads(next(row for row in rows() if row.number == SHORTENED).answer["body"][:-1] + "]}")
    assert body["prompt_eval_count"] == 24 + (256 - 24) // 2
    assert body["context"][:24] == recorded["context"][:24]


def test_capabilities_of_a_gguf(address: str) -> None:
    """In the order in which `ollama show` prints them."""
    shown = httpx.post(f"http://{address}/api/show", json={"model": "think"}).json()
    assert shown["capabilities"] == ["tools", "thinking", "completion"]


def test_each_row_has_one_place() -> None:
    numbers = {row.number for row in rows()}
    listed = [*DELIBERATE, *NOT_REPLAYED]
    assert len(numbers) == 246
    assert len(set(listed)) == len(listed)
    assert set(listed) <= numbers
    not_repeatable = {row.number for row in rows() if row.is_of_the_cli or row.is_cut}
    assert not_repeatable <= set(NOT_REPLAYED)
