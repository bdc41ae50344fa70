"""Events from the chunks of /completion, with every token id."""

from __future__ import annotations

import asyncio
import math

import pytest

from drover.v1 import engine_pb2 as pb
from engine_worker.engines.llamacpp.api import JsonObject
from engine_worker.engines.llamacpp.plain_output import PlainOutput
from engine_worker.engines.llamacpp.vocabulary import Vocabulary
from engine_worker.output.mailbox import Mailbox

_EOS = 2
_SHEEP = [240, 159, 144, 145]  # a token for each byte of 🐑
_SPACE_AND_SNOW = 300  # " ☃" without its last two bytes
_BYTES = {token: bytes((token,)) for token in range(0x80, 0x100)} | {_SPACE_AND_SNOW: " ☃".encode()[:2]}
_VOCABULARY = Vocabulary(
    size=512,
    partial={data: token for token, data in _BYTES.items()},
    bytes_of=_BYTES,
    hidden=frozenset({_EOS, 3}),
)


class Completion:
    """Plays llama-server: `says` is a chunk of text, and `ends` the last one."""

    def __init__(self, top: int | None = None, truncated: int = 0) -> None:
        self.mailbox = Mailbox()
        self.tokenized: list[str] = []
        self._predicted = 0
        self.pieces: dict[int, str] = {}
        started = pb.Started(prompt_ids=[1, 10, 11], truncated_tokens=truncated)
        self.output = PlainOutput(self.mailbox, started, top, _VOCABULARY, self._tokenize, self._detokenize)

    async def _tokenize(self, text: str, count: int) -> list[int]:
        self.tokenized.append(text)
        return [token for character in text for token in character.encode()]

    async def _detokenize(self, ids: list[int]) -> str:
        return "".join(self.pieces.get(token, "?") for token in ids)

    async def progress(self) -> None:
        chunk: JsonObject = {
            "content": "",
            "tokens": [],
            "stop": False,
            "prompt_progress": {"total": 3, "processed": 1},
        }
        await self.output.feed(chunk, 5)

    async def says(
        self, text: str, *tokens: int, swallowed: int = 0, logprobs: list[JsonObject] | None = None
    ) -> None:
        self._predicted += len(tokens) + swallowed
        chunk: JsonObject = {
            "index": 0,
            "content": text,
            "tokens": list(tokens),
            "stop": False,
            "tokens_predicted": self._predicted,
            "tokens_evaluated": 3,
        }
        if logprobs is not None:
            chunk["completion_probabilities"] = logprobs
        await self.output.feed(chunk, 5)

    async def ends(self, stop_type: str = "eos", word: str = "") -> pb.GenerateEvent:
        await self.output.feed(
            {
                "content": "",
                "tokens": [],
                "stop": True,
                "stop_type": stop_type,
                "stopping_word": word,
                "tokens_predicted": self._predicted,
                "timings": {"cache_n": 2, "prompt_n": 1, "prompt_ms": 1.5, "predicted_ms": 0.0},
            },
            5,
        )
        return await self.event()

    async def event(self) -> pb.GenerateEvent:
        return await asyncio.wait_for(self.mailbox.take(), 30)


def _ids(event: pb.GenerateEvent) -> list[int]:
    return [token for delta in event.deltas for token in delta.token_ids]


def _text(event: pb.GenerateEvent) -> str:
    return "".join(delta.content for delta in event.deltas)


async def test_prefill_progress_is_no_event() -> None:
    completion = Completion()

    await completion.progress()

    assert not completion.mailbox.ready


async def test_the_first_event_has_the_prompt_once() -> None:
    completion = Completion(truncated=7)
    await completion.says("A", 20)
    first = await completion.event()
    await completion.says("B", 21)
    second = await completion.event()

    assert list(first.started.prompt_ids) == [1, 10, 11]
    assert first.started.truncated_tokens == 7
    assert (_text(first), _ids(first), first.deltas[0].completion_tokens) == ("A", [20], 1)
    assert not second.HasField("started")
    assert (_text(second), _ids(second), second.deltas[0].completion_tokens) == ("B", [21], 2)


async def test_the_end_of_sequence_counts_but_is_not_reported() -> None:
    completion = Completion()
    await completion.says("A", 20)
    await completion.event()
    await completion.says("", _EOS)
    assert not completion.mailbox.ready

    event = await completion.ends("eos")

    done = event.done
    assert _ids(event) == []
    assert done.finish_reason == pb.Done.STOP
    assert (done.prompt_tokens, done.cached_tokens, done.completion_tokens) == (3, 2, 2)
    assert (done.timings.queue_ns, done.timings.prefill_ns, done.timings.decode_ns) == (5, 1_500_000, 1)
    assert done.WhichOneof("matched") is None
    assert completion.output.finished
    assert completion.output.all_ids == [1, 10, 11, 20]


async def test_an_empty_answer() -> None:
    completion = Completion()
    await completion.says("", _EOS)
    event = await completion.ends("eos")

    assert event.HasField("started")
    assert list(event.deltas) == []
    assert event.done.completion_tokens == 1


async def test_a_limit_is_length_and_its_last_token_is_reported() -> None:
    completion = Completion()
    await completion.says("A", 20)
    await completion.event()
    await completion.says("", 21)

    event = await completion.ends("limit")

    assert event.done.finish_reason == pb.Done.LENGTH
    assert _ids(event) == [21]
    assert completion.output.all_ids == [1, 10, 11, 20, 21]


async def test_tokens_without_text_come_with_the_next_text() -> None:
    completion = Completion()
    await completion.says("A", 20)
    await completion.event()
    await completion.says("", 21)
    await completion.says("", 22)
    assert not completion.mailbox.ready
    await completion.says("STO!", 23)

    event = await completion.event()

    assert (_text(event), _ids(event), event.deltas[0].completion_tokens) == ("STO!", [21, 22, 23], 4)


async def test_a_stop_text_is_named_and_its_tokens_are_reported() -> None:
    completion = Completion()
    await completion.says("A", 20)
    await completion.event()
    await completion.says("", 21)
    event = await completion.ends("word", "STOP")

    assert (event.done.finish_reason, event.done.matched_stop) == (pb.Done.STOP, "STOP")
    assert _ids(event) == [21]


async def test_missing_ids_inside_a_character_are_recovered() -> None:
    completion = Completion()
    await completion.says("🐑", _SHEEP[-1], swallowed=3)

    event = await completion.event()

    assert completion.tokenized == []
    assert (_text(event), _ids(event), event.deltas[0].completion_tokens) == ("🐑", _SHEEP, 4)


async def test_a_missing_token_that_begins_with_other_text() -> None:
    completion = Completion()
    await completion.says(" ☃", *"☃".encode()[2:], swallowed=2)

    assert _ids(await completion.event()) == [_SPACE_AND_SNOW, *"☃".encode()[1:]]


async def test_missing_tokens_after_text_held_back_for_a_stop_text() -> None:
    completion = Completion(top=1)
    await completion.says("", 20)
    entry = _probability(_SHEEP[-1], "é🐑", -0.5, (_SHEEP[-1], b"\x91", -0.5))
    await completion.says("é🐑", _SHEEP[-1], swallowed=3, logprobs=[entry])

    (delta,) = (await completion.event()).deltas

    assert list(delta.token_ids) == [20, *_SHEEP]
    assert delta.logprobs[0].token == "🐑".encode()


async def test_a_special_token_at_the_limit_shows_nothing() -> None:
    completion = Completion()
    completion.pieces = {3: "<|im_start|>"}
    await completion.says("", 3)

    event = await completion.ends("limit")

    assert (_text(event), _ids(event)) == ("", [3])


async def test_bytes_of_no_known_tokens_are_tokenised() -> None:
    completion = Completion()
    await completion.says("a🐑", _SHEEP[-1], swallowed=4)

    assert completion.tokenized == ["a🐑"]
    assert _ids(await completion.event()) == [97, *_SHEEP]


async def test_text_that_tokenises_differently_still_gives_the_right_number_of_ids() -> None:
    completion = Completion()
    await completion.says("🐑", 99, swallowed=2)

    ids = _ids(await completion.event())

    assert len(ids) == 3
    assert ids[-1] == 99


async def test_nothing_is_tokenised_without_missing_tokens() -> None:
    completion = Completion()
    await completion.says("A", 20)
    await completion.says("BC", 21, 22)

    assert completion.tokenized == []
    assert _ids(await completion.event()) == [20, 21, 22]


def _probability(token_id: int, text: str, logprob: float, *others: tuple[int, bytes, float]) -> JsonObject:
    top = [{"id": other, "bytes": list(data), "logprob": chance} for other, data, chance in others]
    return {"id": token_id, "bytes": list(text.encode()), "logprob": logprob, "top_logprobs": top}


@pytest.mark.parametrize("top", [0, 1, 2])
async def test_logprobs_with_as_many_alternatives_as_were_asked_for(top: int) -> None:
    completion = Completion(top=top)
    entry = _probability(20, "A", -0.5, (20, b"\x41", -0.5), (21, b"B", -1.5))
    await completion.says("A", 20, logprobs=[entry])

    (logprob,) = (await completion.event()).deltas[0].logprobs

    assert (logprob.token_id, logprob.token, logprob.logprob) == (20, b"A", -0.5)
    assert [other.token for other in logprob.top] == [b"A", b"B"][:top]


async def test_a_character_of_several_tokens_has_one_entry_with_all_its_bytes() -> None:
    completion = Completion(top=1)
    entry = _probability(_SHEEP[-1], "🐑", -0.5, (_SHEEP[-1], b"\x91", -0.5))
    await completion.says("🐑", _SHEEP[-1], swallowed=3, logprobs=[entry])

    (logprob,) = (await completion.event()).deltas[0].logprobs
    assert (logprob.token_id, logprob.token) == (_SHEEP[-1], "🐑".encode())
    assert logprob.top[0].token == b"\x91"


@pytest.mark.parametrize("logprob", [None, -math.inf, math.nan, -3.4028234663852886e38])
async def test_the_logprob_of_probability_zero_is_finite(logprob: float | None) -> None:
    completion = Completion(top=1)
    entry = _probability(20, "A", 0.0, (20, b"A", 0.0))
    entry["logprob"] = logprob
    await completion.says("A", 20, logprobs=[entry])

    assert (await completion.event()).deltas[0].logprobs[0].logprob == -9999


async def test_the_end_of_sequence_has_no_logprob_either() -> None:
    completion = Completion(top=0)
    await completion.says("A", 20, logprobs=[_probability(20, "A", -0.5)])
    await completion.says("", _EOS, logprobs=[_probability(_EOS, "", -0.1)])

    (delta,) = (await completion.ends("eos")).deltas

    assert [logprob.token_id for logprob in delta.logprobs] == [20]


async def test_no_logprobs_unless_requested() -> None:
    completion = Completion(top=None)
    await completion.says("A", 20, logprobs=[_probability(20, "A", -0.5)])

    assert not (await completion.event()).deltas[0].logprobs
