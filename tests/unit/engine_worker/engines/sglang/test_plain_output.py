"""Plain text skips the stages of an output, with the same events, in a bounded number of calls."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from types import FrameType

from hypothesis import given
from hypothesis import strategies as st

from drover.v1 import engine_pb2 as pb
from engine_worker.engines.sglang.output import Output, OutputContext
from engine_worker.engines.sglang.text import EngineText
from engine_worker.engines.sglang.upstream.calls import Chunk, Finish
from engine_worker.output.base import OutputParser, Piece, PlainText
from engine_worker.output.mailbox import Mailbox
from engine_worker.output.stop_matcher import StopMatcher
from tests.unit.engine_worker.engines.sglang.test_output import ByteTable, chunk

# feed, the text source, and the mailbox with its notification.
_MAX_CALLS_PER_TOKEN = 7


class _StagedPlainText:
    """A PlainText that the output does not recognise, so that all stages run."""

    holds = False

    def __init__(self) -> None:
        self._plain = PlainText()

    def feed(self, text: str) -> Sequence[Piece]:
        return self._plain.feed(text)

    def finish(self) -> Sequence[Piece]:
        return self._plain.finish()


def _output(parser: OutputParser, mailbox: Mailbox) -> Output:
    started = pb.Started(prompt_ids=[1, 2, 3])
    return Output(OutputContext(started, EngineText(ByteTable()), parser, StopMatcher(())), mailbox)


async def _event(parser: OutputParser, chunks: Sequence[Chunk]) -> pb.GenerateEvent:
    mailbox = Mailbox()
    output = _output(parser, mailbox)
    for each in chunks:
        assert output.feed(each) == (each is chunks[-1])
    event = await mailbox.take()
    event.done.ClearField("timings")
    return event


_ENDS: Sequence[Finish] = (
    Finish(type="length"),
    Finish(type="stop", matched=97),
    Finish(type="stop", matched="STOP"),
)
_TEXTS = st.sampled_from(["", "a", "two words", "�", "ab�"])
_STEPS = st.lists(st.tuples(_TEXTS, st.lists(st.integers(90, 250), max_size=3)), min_size=1, max_size=12)


@given(_STEPS, st.sampled_from(_ENDS))
async def test_plain_and_staged_output_are_the_same(steps: list[tuple[str, list[int]]], end: Finish) -> None:
    def chunks() -> list[Chunk]:
        tokens, made = 0, []
        for at, (text, ids) in enumerate(steps, 1):
            tokens += len(ids)
            made.append(chunk(text, list(ids), tokens, end if at == len(steps) else None))
        return made

    assert await _event(PlainText(), chunks()) == await _event(_StagedPlainText(), chunks())


def test_the_calls_per_plain_token_do_not_grow_with_the_answer() -> None:
    mailbox = Mailbox()
    mailbox.notify = _nothing
    output = _output(PlainText(), mailbox)
    output.feed(chunk("a", [97], 1))

    early = _calls(lambda: output.feed(chunk("a", [97], 2)))
    for tokens in range(3, 2000):
        output.feed(chunk("a", [97], tokens))
    mailbox.fill(pb.GenerateEvent())
    late = _calls(lambda: output.feed(chunk("a", [97], 2000)))

    assert early == late <= _MAX_CALLS_PER_TOKEN


def _nothing() -> None:
    pass


def _calls(work: Callable[[], object]) -> int:
    """The number of Python calls of `work`, without itself and without building its chunk."""
    count = -2

    def saw(frame: FrameType, kind: str, _: object) -> None:
        nonlocal count
        count += kind == "call"

    sys.setprofile(saw)
    try:
        work()
    finally:
        sys.setprofile(None)
    return count
