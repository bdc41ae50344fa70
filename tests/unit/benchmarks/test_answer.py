"""The load client's reading of answers, cut anywhere."""

from __future__ import annotations

import orjson
import pytest

from benchmarks.client.answer import Answer
from benchmarks.client.dialects import DIALECTS, Name
from benchmarks.client.histogram import Histogram
from benchmarks.client.numbered import Order, token


def ndjson(*values: object) -> bytes:
    return b"".join(orjson.dumps(value) + b"\n" for value in values)


def sse(*values: object) -> bytes:
    return b"".join(b"data: " + orjson.dumps(value) + b"\n\n" for value in values)


TEXTS = [token(number) for number in range(3)]
BODIES: dict[Name, bytes] = {
    "chat": ndjson(
        *({"message": {"content": text}, "done": False} for text in TEXTS),
        {"message": {"content": ""}, "done": True, "eval_count": 3},
    ),
    "generate": ndjson(
        *({"response": text, "done": False} for text in TEXTS),
        {"response": "", "done": True, "eval_count": 3},
    ),
    "openai": sse(
        {"choices": [{"delta": {"role": "assistant", "content": ""}}]},
        *({"choices": [{"delta": {"content": text}}]} for text in TEXTS),
        {"choices": [], "usage": {"completion_tokens": 3}},
    )
    + b"data: [DONE]\n\n",
    "anthropic": b"event: message_start\n"
    + sse(
        {"type": "message_start", "message": {}},
        *({"type": "content_block_delta", "delta": {"type": "text_delta", "text": text}} for text in TEXTS),
        {"type": "message_delta", "usage": {"output_tokens": 3}},
        {"type": "message_stop"},
    ),
}


def answer_to(name: Name, numbered: bool = True) -> Answer:
    return Answer(DIALECTS[name], Histogram(), Order() if numbered else None)


@pytest.mark.parametrize("size", [1, 7, 100_000])
@pytest.mark.parametrize("name", BODIES)
def test_counts_lines_and_tokens_of_each_dialect_however_it_is_cut(name: Name, size: int) -> None:
    answer, body = answer_to(name), BODIES[name]
    for at in range(0, len(body), size):
        answer.read(body[at : at + size], float(at))
    answer.end()
    assert (answer.problem, answer.is_over) == ("", True)
    assert (answer.lines, answer.tokens, answer.said_tokens) == (3, 3, 3)


@pytest.mark.parametrize("name", BODIES)
def test_an_answer_that_ends_in_its_middle_is_a_problem(name: Name) -> None:
    answer, body = answer_to(name), BODIES[name]
    answer.read(body[: len(body) * 2 // 3], 0.0)
    answer.end()
    assert answer.problem == "the answer ended in its middle"


@pytest.mark.parametrize(
    ("name", "line", "problem"),
    [
        ("chat", b'{"error":"the model broke"}\n', "the model broke"),
        ("generate", b'{"error":"the model broke"}\n', "the model broke"),
        ("openai", b'data: {"error":{"message":"m"}}\n\n', "{'message': 'm'}"),
        ("anthropic", b'data: {"type":"error","error":{"message":"m"}}\n\n', "{'message': 'm'}"),
        ("chat", b"<html>\n", "cannot be read"),
        ("chat", b'{"done":false}\n', "cannot be read"),
        ("chat", ndjson({"message": {"content": token(1)}, "done": False}), "expected"),
    ],
)
def test_errors_and_lines_of_another_form_are_problems(name: Name, line: bytes, problem: str) -> None:
    answer = answer_to(name)
    answer.read(line, 0.0)
    assert problem in answer.problem


def test_a_line_after_the_last_one_is_a_problem() -> None:
    answer = answer_to("chat")
    answer.read(BODIES["chat"] * 2, 0.0)
    assert "after the last one" in answer.problem


def test_gaps_are_between_lines_of_one_answer() -> None:
    gaps = Histogram()
    answer = Answer(DIALECTS["chat"], gaps, None)
    for at, line in enumerate(BODIES["chat"].splitlines(keepends=True)):
        answer.read(line, 10.0 + at)
    assert (answer.first_at, gaps.count) == (10.0, 2)
    assert 1.0 <= gaps.percentile(50) <= 1.03
