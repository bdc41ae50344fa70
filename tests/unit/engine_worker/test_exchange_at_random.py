"""Whatever engines put, frontends order, and however slow the stream is: nothing is lost, all is in order."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from dataclasses import dataclass
from typing import cast

import grpc
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from drover.errors import EngineFailed
from drover.rpc import ROWS_OF_CREDIT
from drover.v1 import engine_pb2 as pb
from engine_worker.exchange import Exchange
from engine_worker.generations import Generations
from engine_worker.output.mailbox import Mailbox
from tests.unit.engine_worker.exchange_harness import with_event

_REQUESTS = (1, 2, 3)
_SECONDS = 30.0


class Stream:
    """What an exchange uses of a servicer's context: a write takes until the test lets it through."""

    def __init__(self) -> None:
        self.orders: asyncio.Queue[object] = asyncio.Queue()
        self.may_write = asyncio.Semaphore(0)
        self.rows: list[pb.Row] = []

    async def read(self) -> object:
        return await self.orders.get()

    async def write(self, step: pb.Step) -> None:
        await self.may_write.acquire()
        assert step.rows
        self.rows.extend(map(with_event, step.rows))


class Mailboxes:
    """Implements what an exchange uses of Generations."""

    def __init__(self) -> None:
        self.of: dict[int, Mailbox] = {}

    async def run(self, request: pb.GenerateRequest, client_request_id: str, mailbox: Mailbox) -> None:
        self.of[int(request.request_id)] = mailbox
        await mailbox.wait_over()


@dataclass(frozen=True)
class Put:
    number: int
    kind: str
    tokens: int


@dataclass(frozen=True)
class End:
    number: int
    fails: bool


@dataclass(frozen=True)
class Abort:
    number: int


@dataclass(frozen=True)
class Grant:
    number: int
    rows: int


@dataclass(frozen=True)
class Write:
    steps: int


class Turn:
    """Everything that can run does."""


_NUMBER = st.sampled_from(_REQUESTS)
_ACTIONS = st.lists(
    st.one_of(
        st.builds(
            Put, _NUMBER, st.sampled_from(["content", "thinking", "call"]), st.sampled_from([0, 1, 2, 5000])
        ),
        st.builds(End, _NUMBER, st.booleans()),
        st.builds(Abort, _NUMBER),
        st.builds(Grant, _NUMBER, st.integers(0, 5)),
        st.builds(Write, st.integers(1, 3)),
        st.builds(Turn),
    ),
    max_size=60,
)


class Run:
    """`credit`: what each request begins with, in place of the contract's."""

    def __init__(self) -> None:
        self.stream, self.mailboxes = Stream(), Mailboxes()
        self.put: defaultdict[int, list[tuple[str, str]]] = defaultdict(list)
        self.ids: defaultdict[int, list[int]] = defaultdict(list)
        self.granted = dict.fromkeys(_REQUESTS, ROWS_OF_CREDIT)
        self.ended: dict[int, str] = {}
        self.aborted: set[int] = set()
        context = cast("grpc.aio.ServicerContext[pb.Orders, pb.Step]", self.stream)
        self.exchange = Exchange(context, cast("Generations", self.mailboxes))

    async def all(self, actions: list[object]) -> None:
        running = asyncio.create_task(self.exchange.run())
        self.send(pb.Orders(submissions=[_submission(number) for number in _REQUESTS]))
        await self.turn()
        for action in actions:
            await self.do(action)
        await self.finish()
        self.exchange.close()
        await asyncio.wait_for(running, _SECONDS)

    async def do(self, action: object) -> None:
        match action:
            case Put(number, kind, tokens) if number not in self.ended and number not in self.aborted:
                self.say(number, kind, tokens)
            case End(number, fails) if number not in self.ended and number not in self.aborted:
                self.end(number, fails)
            case Abort(number):
                self.aborted.add(number)
                self.send(pb.Orders(aborts=[number]))
            case Grant(number, rows):
                self.granted[number] += rows
                self.send(pb.Orders(credits=[pb.Credit(number=number, rows=rows)]))
            case Write(steps):
                for _ in range(steps):
                    self.stream.may_write.release()
                await self.turn()
            case Turn():
                await self.turn()

    def say(self, number: int, kind: str, tokens: int) -> None:
        text = f"{len(self.put[number])};"
        ids = list(range(tokens))
        self.put[number].append((kind, text))
        self.ids[number] += ids
        match kind:
            case "content":
                self.mailboxes.of[number].content(text, ids, 0)
            case "thinking":
                self.mailboxes.of[number].thinking(text, ids, 0)
            case _:
                self.mailboxes.of[number].tool_call(pb.ToolCallDelta(arguments_fragment=text), ids, 0)

    def end(self, number: int, fails: bool) -> None:
        self.ended[number] = "EngineFailed" if fails else ""
        if fails:
            self.mailboxes.of[number].fail(EngineFailed("died"))
        else:
            self.mailboxes.of[number].done(pb.Done(finish_reason=pb.Done.STOP))

    async def finish(self) -> None:
        """All end, are granted what they need, and everything is written."""
        for number in _REQUESTS:
            if number not in self.ended and number not in self.aborted:
                self.end(number, fails=False)
            self.granted[number] += 1000
            self.send(pb.Orders(credits=[pb.Credit(number=number, rows=1000)]))
        for _ in range(1000):
            self.stream.may_write.release()
        await self.turn()

    def send(self, orders: pb.Orders) -> None:
        self.stream.orders.put_nowait(orders)

    async def turn(self) -> None:
        for _ in range(10):
            await asyncio.sleep(0)

    def check(self) -> None:
        for number in _REQUESTS:
            rows = [row for row in self.stream.rows if row.number == number]
            is_end = [row.HasField("failure") or row.event.HasField("done") for row in rows]
            assert is_end == [False] * (len(rows) - 1) + [True]
            assert sum(row.HasField("event") for row in rows) <= self.granted[number]
            said, ids = _said(rows)
            if rows[-1].failure.reason == "ClientLeft":
                assert number in self.aborted
                assert _joined(self.put[number])[: max(0, len(said) - 1)] == said[:-1]
            else:
                assert rows[-1].failure.reason == self.ended[number]
                assert said == _joined(self.put[number])
                assert ids == self.ids[number]


def _submission(number: int) -> pb.Submission:
    """The last one is read whole."""
    request = pb.GenerateRequest(request_id=str(number), whole=number == _REQUESTS[-1])
    return pb.Submission(number=number, request=request)


def _said(rows: list[pb.Row]) -> tuple[list[tuple[str, str]], list[int]]:
    said: list[tuple[str, str]] = []
    ids: list[int] = []
    for row in rows:
        for delta in row.event.deltas:
            ids += delta.token_ids
            if delta.tool_calls:
                said += [("call", call.arguments_fragment) for call in delta.tool_calls]
            elif delta.thinking:
                said.append(("thinking", delta.thinking))
            else:
                said.append(("content", delta.content))
    return _joined(said), ids


def _joined(pieces: list[tuple[str, str]]) -> list[tuple[str, str]]:
    """Neighbours of one kind."""
    joined: list[tuple[str, str]] = []
    for kind, text in pieces:
        if joined and joined[-1][0] == kind:
            joined[-1] = (kind, joined[-1][1] + text)
        else:
            joined.append((kind, text))
    return joined


@settings(max_examples=150)
@given(_ACTIONS, st.integers(0, 3))
def test_nothing_is_lost_and_all_is_in_order(actions: list[object], credit: int) -> None:
    async def run() -> None:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("engine_worker.exchange.ROWS_OF_CREDIT", credit)
            run = Run()
            run.granted = dict.fromkeys(_REQUESTS, credit)
            await run.all(actions)
            run.check()

    asyncio.run(run())


def test_a_prompt_too_counts_for_the_size_of_a_step() -> None:
    """Prompts that the prefix cache has begin all in one step."""

    async def run() -> None:
        run = Run()
        running = asyncio.create_task(run.exchange.run())
        run.send(pb.Orders(submissions=[_submission(number) for number in _REQUESTS]))
        await run.turn()
        for number in _REQUESTS:
            run.mailboxes.of[number].started(pb.Started(prompt_ids=range(100_000)))
            run.mailboxes.of[number].content("x", [1], 1)
        run.stream.may_write.release()
        await run.turn()
        assert [(row.number, row.event.deltas[0].content) for row in run.stream.rows] == [(1, "x")]
        await run.finish()
        run.exchange.close()
        await asyncio.wait_for(running, _SECONDS)

    asyncio.run(run())


def test_log_probabilities_count_for_the_size_of_a_row() -> None:
    """What a request has credit for fits into what a frontend keeps of one whose client does not read."""

    async def run() -> None:
        run = Run()
        running = asyncio.create_task(run.exchange.run())
        run.send(pb.Orders(submissions=[_submission(1)]))
        await run.turn()
        entry = pb.TokenLogprob(token_id=1, token=b"x" * 10, logprob=-1.5)
        for _ in range(20):
            entry.top.add(token_id=2**31, token=b"y" * 10, logprob=-2.5)
        for number in range(20_000):
            run.mailboxes.of[1].content("x", [number], number, [entry])
        for _ in range(1000):
            run.stream.may_write.release()
        await run.turn()
        sent = [row.ByteSize() for row in run.stream.rows]
        assert len(sent) == ROWS_OF_CREDIT
        assert sum(sent) < 8 << 20
        running.cancel()
        await asyncio.wait({running})

    asyncio.run(run())
