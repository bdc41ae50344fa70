"""The public load client against servers that are scripted byte by byte."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import orjson
import pytest

from benchmarks import load
from benchmarks.client.dialects import DIALECTS
from benchmarks.client.load import Load, Totals
from benchmarks.client.numbered import token

LINES = [
    orjson.dumps({"message": {"content": "word"}, "done": False}) + b"\n",
    orjson.dumps({"message": {"content": " word"}, "done": False}) + b"\n",
    orjson.dumps({"message": {"content": ""}, "done": True, "eval_count": 2}) + b"\n",
]
CHUNKED = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"


def chunked(*parts: bytes) -> bytes:
    return CHUNKED + b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in (*parts, b""))


def refusal(text: bytes) -> bytes:
    return b"HTTP/1.1 404 Not Found\r\ncontent-length: %d\r\n\r\n%s" % (len(text), text)


@asynccontextmanager
async def server(answer: Callable[[], bytes]) -> AsyncIterator[str]:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                await reader.readexactly(int(head.partition(b"content-length: ")[2].partition(b"\r")[0]))
                writer.write(answer())
        except asyncio.IncompleteReadError:
            writer.close()

    listening = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with listening:
        host, port = listening.sockets[0].getsockname()
        yield f"{host}:{port}"


async def totals_of(answer: Callable[[], bytes], numbered: bool = False) -> Totals:
    totals = Totals()
    async with server(answer) as address:
        await Load(address, False, DIALECTS["chat"], "m", "p", 8, 0.2, 2, 50.0, numbered).run(totals)
    return totals


async def test_sound_answers_are_counted_on_kept_alive_connections() -> None:
    totals = await totals_of(lambda: chunked(*LINES))
    assert not totals.problems
    assert totals.answers > 2
    assert (totals.lines, totals.messages, totals.tokens) == tuple(2 * totals.answers for _ in range(3))
    assert totals.first.count == totals.gaps.count == totals.answers
    assert "every line is sound" in totals.report()


async def test_an_answer_with_a_length_is_read_too() -> None:
    body = b"".join(LINES)
    head = b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % len(body)
    totals = await totals_of(lambda: head + body)
    assert not totals.problems
    assert totals.lines == 2 * totals.answers


@pytest.mark.parametrize(
    ("answer", "problem"),
    [
        (refusal(b'{"error":"model not found"}'), 'status 404: {"error":"model not found"}'),
        (chunked(*LINES[:2]), "the answer ended in its middle"),
        (chunked(LINES[0], b'{"error":"it broke"}\n'), "it broke"),
        (b"SSH-2.0-OpenSSH\r\n", "not HTTP"),
    ],
)
async def test_each_broken_answer_is_reported(answer: bytes, problem: str) -> None:
    totals = await totals_of(lambda: answer)
    assert totals.problems.total() == totals.answers > 0
    assert all(problem in each for each in totals.problems)
    assert f"BROKEN: {totals.answers} of {totals.answers}" in totals.report()


async def test_an_answer_with_other_tokens_than_asked_for_is_broken() -> None:
    lines = [orjson.dumps({"message": {"content": token(0)}, "done": False}) + b"\n", LINES[-1]]
    totals = await totals_of(lambda: chunked(*lines), numbered=True)
    assert set(totals.problems) == {"1 tokens instead of 8"}


def test_a_server_that_is_not_there_is_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["load", "--url", "http://127.0.0.1:1", "--model", "m"])
    assert load.main() == 2
    assert "127.0.0.1:1 cannot be reached" in capsys.readouterr().err
