"""Output from chunks that a real engine seldom makes on a CPU."""

from __future__ import annotations

import pytest

from drover.errors import ConstraintRejected, ContextExceeded, DroverError, EngineFailed, QueueFull
from drover.v1 import engine_pb2 as pb
from engine_worker.engines.sglang.output import Output, OutputContext
from engine_worker.engines.sglang.text import ContinuedText, EngineText
from engine_worker.engines.sglang.upstream.calls import Chunk, Finish, Meta
from engine_worker.output.base import PlainText
from engine_worker.output.mailbox import Mailbox
from engine_worker.output.stop_matcher import StopMatcher


class ByteTable:
    """A TokenTable in which each token below 256 is a byte."""

    def bytes_of(self, token: int) -> bytes:
        return bytes((token % 256,))

    def is_special(self, token: int) -> bool:
        return False


def chunk(text: str, ids: list[int], tokens: int, finish: Finish | None = None) -> Chunk:
    meta = Meta(finish_reason=finish, prompt_tokens=3, cached_tokens=1, completion_tokens=tokens)
    return Chunk(text=text, output_ids=ids, meta_info=meta)


async def event_of(chunks: list[Chunk], stops: tuple[str, ...] = ()) -> pb.GenerateEvent:
    mailbox = Mailbox()
    context = OutputContext(
        pb.Started(prompt_ids=[1, 2, 3]), EngineText(ByteTable()), PlainText(), StopMatcher(stops)
    )
    output = Output(context, mailbox)
    output.begin()
    for each in chunks:
        if not output.finished:
            output.feed(each)
    return await mailbox.take()


async def test_many_tokens_in_one_chunk_are_one_delta() -> None:
    event = await event_of(
        [chunk("one two", [10, 11, 12], 3), chunk("", [2], 4, Finish(type="stop", matched=2))]
    )
    (delta,) = event.deltas
    assert (delta.content, list(delta.token_ids)) == ("one two", [10, 11, 12])
    assert event.done.completion_tokens == 4
    assert (event.done.prompt_tokens, event.done.cached_tokens) == (3, 1)
    assert event.started.cached_tokens == 1
    assert event.done.matched_token == 2


async def test_a_stop_text_ends_an_answer_in_the_middle_of_a_chunk() -> None:
    event = await event_of([chunk("one ST", [10], 1), chunk("OP two", [11, 12], 3)], stops=("STOP",))
    assert "".join(delta.content for delta in event.deltas) == "one "
    assert event.done.finish_reason == pb.Done.STOP
    assert event.done.matched_stop == "STOP"


_LIMIT = Finish(type="length", length=4)  # type: ignore[typeddict-unknown-key]  # SGLang sends more than it declares
_SHEEP = list("🐑".encode())
_LETTERS = list(b"ab")


@pytest.mark.parametrize(
    ("chunks", "text"),
    [
        ([chunk("ab�", [*_LETTERS, *_SHEEP[:2]], 4, _LIMIT)], "ab"),
        ([chunk("ab", _LETTERS, 2), chunk("�", _SHEEP[:3], 5, _LIMIT)], "ab"),
        ([chunk("", _SHEEP[:1], 1), chunk("", _SHEEP[1:2], 2), chunk("��", _SHEEP[2:3], 3, _LIMIT)], ""),
        ([chunk("🐑", _SHEEP, 4, _LIMIT)], "🐑"),
        # The model itself wrote a replacement character.
        ([chunk("�", list("�".encode()), 3, _LIMIT)], "�"),
    ],
)
async def test_a_character_that_the_limit_cuts_is_left_out(chunks: list[Chunk], text: str) -> None:
    event = await event_of(chunks)
    assert "".join(delta.content for delta in event.deltas) == text
    assert event.done.finish_reason == pb.Done.LENGTH


async def test_a_resumed_answer_leaves_out_a_cut_character_too() -> None:
    text = ContinuedText(ByteTable(), skip_special=True)
    assert text.of_tokens([*_LETTERS, *_SHEEP[:3]]) == "ab"
    assert text.finish() == ""


@pytest.mark.parametrize(
    ("finish", "error_type"),
    [
        (
            Finish(type="abort", message="The input is longer than the model", status_code=400),
            ContextExceeded,
        ),
        (Finish(type="abort", message="Invalid grammar request", status_code=400), ConstraintRejected),
        (Finish(type="abort", message="The request queue is full.", status_code=503), QueueFull),
        (Finish(type="abort", message="out of memory", status_code=500), EngineFailed),
    ],
)
async def test_an_abort_by_sglang_raises_its_error_type(
    finish: Finish, error_type: type[DroverError]
) -> None:
    with pytest.raises(error_type):
        await event_of([chunk("", [], 0, finish)])
