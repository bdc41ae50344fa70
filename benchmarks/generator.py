"""The load of a window, in a process of its own so that its CPU time is not another's.

`python -m benchmarks.generator ADDRESS DIALECT STREAMS TOKENS TURNS` keeps STREAMS answers of TOKENS numbered
tokens coming, each to a conversation of TURNS messages. It writes a line of JSON when all have begun, and one
more for each line that it reads; it ends when its input does.
"""

from __future__ import annotations

import asyncio
import sys
import time
from typing import cast

import orjson
import uvloop

from benchmarks.answers import MODEL, question
from benchmarks.client.answer import Answer
from benchmarks.client.connection import connect, request_bytes
from benchmarks.client.dialects import DIALECTS, Message, Name
from benchmarks.client.histogram import Histogram
from benchmarks.client.numbered import Order
from tests.support.waiting import until

_BEGIN_SECONDS = 60.0


def conversation(turns: int) -> list[Message]:
    """Alternating user and assistant messages, the last one a user's."""
    roles = ("user", "assistant")
    return [{"role": roles[(turns - 1 - at) % 2], "content": question()} for at in range(turns)]


def snapshot(answers: list[Answer], gaps: Histogram) -> bytes:
    """Totals, and the percentiles of the gaps since the last snapshot."""
    problems = [each.problem for each in answers if each.problem]
    problems += ["an answer is over: it was too short for this window" for each in answers if each.is_over]
    totals = {name: sum(getattr(each, name) for each in answers) for name in ("tokens", "messages", "lines")}
    percentiles = {"gap_p50": gaps.percentile(50), "gap_p99": gaps.percentile(99)}
    gaps.clear()
    problem = next(iter(problems), "")
    return orjson.dumps({"at": time.monotonic(), **totals, **percentiles, "problem": problem}) + b"\n"


def has_begun(answer: Answer) -> bool:
    return bool(answer.lines or answer.problem)


async def main(address: str, name: Name, streams: int, tokens: int, turns: int) -> None:
    dialect, gaps = DIALECTS[name], Histogram()
    answers = [Answer(dialect, gaps, Order()) for _ in range(streams)]
    connections = [await connect(address) for _ in answers]
    for connection, answer in zip(connections, answers, strict=True):
        body = dialect.body(MODEL, conversation(turns), tokens)
        connection.ask(request_bytes(address, dialect.path, body), answer)
    await until(lambda: all(map(has_begun, answers)), _BEGIN_SECONDS, "every answer has begun")
    orders = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(orders), sys.stdin
    )
    order = b"begin"
    while order:
        sys.stdout.buffer.write(snapshot(answers, gaps))
        sys.stdout.buffer.flush()
        order = await orders.readline()


if __name__ == "__main__":
    _address, _name, *_numbers = sys.argv[1:]
    uvloop.run(main(_address, cast(Name, _name), *map(int, _numbers)))
