"""Events from the chunks of /v1/chat/completions."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterable, Sequence

import pytest

from drover.v1 import engine_pb2 as pb
from engine_worker.engines.llamacpp.api import JsonObject
from engine_worker.engines.llamacpp.chat_output import ChatOutput, Transcript
from engine_worker.engines.llamacpp.template import ChatTemplate
from engine_worker.output.mailbox import Mailbox

TEMPLATE = ChatTemplate(thinking=True, before_thinking="<t>", after_thinking="</t>")


class Chat:
    """Plays llama-server's chat route; each `says` costs a token, and `hidden` ones before it."""

    def __init__(
        self, top: int | None = None, stops: Sequence[str] = (), shows_thinking: bool = True
    ) -> None:
        self.mailbox = Mailbox()
        self.tokenized: list[str] = []
        self._predicted = 0
        started = pb.Started(prompt_ids=[1, 10, 11])
        self.output = ChatOutput(
            self.mailbox, started, top, stops, shows_thinking, Transcript(TEMPLATE), self._tokenize
        )

    async def _tokenize(self, text: str, count: int) -> list[int]:
        self.tokenized.append(text)
        return list(text.encode())

    async def says(
        self, delta: JsonObject, hidden: int = 0, logprobs: list[JsonObject] | None = None
    ) -> None:
        self._predicted += 1 + hidden
        choice: JsonObject = {"index": 0, "delta": delta, "finish_reason": None}
        if logprobs is not None:
            choice["logprobs"] = {"content": logprobs}
        await self.output.feed({"choices": [choice], "timings": self._timings()}, 5)

    async def ends(self, stop_type: str = "eos", hidden: int = 0) -> list[pb.Delta]:
        self._predicted += hidden
        choice: JsonObject = {"index": 0, "delta": {}, "finish_reason": "stop"}
        verbose: JsonObject = {"stop_type": stop_type, "stopping_word": "<end>"}
        await self.output.feed({"choices": [choice], "timings": self._timings(), "__verbose": verbose}, 5)
        return await self.new_deltas()

    async def new_deltas(self) -> list[pb.Delta]:
        event = await asyncio.wait_for(self.mailbox.take(), 30)
        self.started, self.done = event.started, event.done
        return _joined(event.deltas)

    def _timings(self) -> JsonObject:
        return {"cache_n": 2, "prompt_ms": 1.5, "predicted_ms": 0.0, "predicted_n": self._predicted}


def _joined(deltas: Iterable[pb.Delta]) -> list[pb.Delta]:
    """Neighbours of one kind as one; tokens without text belong to the text before them."""
    joined: list[pb.Delta] = []
    for delta in deltas:
        if joined and (_kind(delta) in (_kind(joined[-1]), "") or not _kind(joined[-1])):
            content = joined[-1].content + delta.content
            thinking = joined[-1].thinking + delta.thinking
            joined[-1].MergeFrom(delta)
            joined[-1].content, joined[-1].thinking = content, thinking
        else:
            joined.append(delta)
    return joined


def _kind(delta: pb.Delta) -> str:
    return (
        "thinking" if delta.thinking else "call" if delta.tool_calls else "content" if delta.content else ""
    )


def _call(index: int, arguments: str, name: str = "") -> JsonObject:
    function = {"name": name, "arguments": arguments} if name else {"arguments": arguments}
    begin: JsonObject = {"id": "theirs", "type": "function"} if name else {}
    return {"tool_calls": [{"index": index, "function": function, **begin}]}


async def test_prefill_progress_is_no_event() -> None:
    chat = Chat()
    await chat.output.feed({"choices": [{"delta": {}}], "prompt_progress": {"total": 3}}, 5)

    assert not chat.mailbox.ready


async def test_thinking_and_content_and_the_ids_behind_them() -> None:
    chat = Chat()
    await chat.says({"role": "assistant", "content": None})
    await chat.says({"reasoning_content": "Hm"})
    await chat.says({"reasoning_content": "."})
    await chat.says({"content": "Hello"}, hidden=1)
    thinking, content = await chat.ends(hidden=1)

    assert list(chat.started.prompt_ids) == [1, 10, 11]
    assert (thinking.thinking, content.content) == ("Hm.", "Hello")
    assert chat.tokenized == ["<t>Hm.</t>Hello"]
    assert bytes(content.token_ids) == b"<t>Hm.</t>Hello"
    done = chat.done
    assert (done.prompt_tokens, done.cached_tokens) == (3, 2)
    assert (done.completion_tokens, done.reasoning_tokens) == (6, 3)
    assert (done.timings.queue_ns, done.timings.prefill_ns, done.timings.decode_ns) == (5, 1_500_000, 1)
    assert (chat.output.produced, chat.output.finished, chat.output.is_idle) == (6, True, True)
    assert chat.output.all_ids == [1, 10, 11, *b"<t>Hm.</t>Hello"]


async def test_an_empty_answer() -> None:
    chat = Chat()
    assert await chat.ends(hidden=1) == []
    assert chat.started.prompt_ids
    assert (chat.done.completion_tokens, chat.tokenized) == (1, [])


@pytest.mark.parametrize(
    ("stop_type", "reason", "matched"),
    [("eos", pb.Done.STOP, ""), ("limit", pb.Done.LENGTH, ""), ("word", pb.Done.STOP, "<end>")],
)
async def test_finish_reasons(stop_type: str, reason: pb.Done.FinishReason.ValueType, matched: str) -> None:
    chat = Chat()
    await chat.says({"content": "A"})
    await chat.ends(stop_type)

    assert (chat.done.finish_reason, chat.done.matched_stop) == (reason, matched)


async def test_calls_are_named_once_and_whole_when_their_object_closes() -> None:
    chat = Chat()
    await chat.says(_call(0, "{", "weather"), hidden=3)
    await chat.says(_call(0, '"a":{}'))
    await chat.says(_call(0, "}"))
    await chat.says(_call(1, "{}", "news"))
    parts = [part for delta in await chat.ends() for part in delta.tool_calls]

    assert [(part.index, part.name, part.arguments_fragment, part.complete) for part in parts] == [
        (0, "weather", "{", False),
        (0, "", '"a":{}', False),
        (0, "", "}", True),
        (1, "news", "{}", True),
    ]
    ids = [part.id for part in parts if part.id]
    assert len(set(ids)) == 2
    assert all(re.fullmatch(r"call_[a-z0-9]{8}", each) for each in ids)
    assert chat.tokenized == ['{"a":{}}{}']


async def test_white_space_after_arguments_does_not_complete_them_again() -> None:
    chat = Chat()
    await chat.says(_call(0, "{}", "now"))
    await chat.says(_call(0, "\n"))
    parts = [part for delta in await chat.ends() for part in delta.tool_calls]

    assert [part.complete for part in parts] == [True, False]


@pytest.mark.parametrize(("stop_type", "complete"), [("eos", True), ("limit", False)])
async def test_a_call_without_arguments(stop_type: str, complete: bool) -> None:
    chat = Chat()
    await chat.says(_call(0, "", "now"))
    parts = [part for delta in await chat.ends(stop_type) for part in delta.tool_calls]

    assert any(part.complete for part in parts) is complete
    assert "".join(part.arguments_fragment for part in parts) == ("{}" if complete else "")


async def test_a_stop_text_ends_the_answer_while_llama_cpp_still_generates() -> None:
    chat = Chat(stops=["never", "STOP"])
    await chat.says({"content": "A ST"})
    await chat.says({"content": "OP B"})
    await chat.says({"content": "C"})
    (delta,) = await chat.new_deltas()

    assert delta.content == "A "
    assert (chat.done.finish_reason, chat.done.matched_stop) == (pb.Done.STOP, "STOP")
    assert chat.done.completion_tokens == 2
    assert (chat.output.finished, chat.output.is_idle) == (True, False)


@pytest.mark.parametrize("stop_type", ["eos", "limit"])
async def test_a_partial_stop_text_is_sent_at_the_end(stop_type: str) -> None:
    chat = Chat(stops=["STOP"])
    await chat.says({"content": "A ST"})
    (delta,) = await chat.ends(stop_type)

    assert (delta.content, chat.done.matched_stop) == ("A ST", "")


async def test_a_stop_text_does_not_match_across_thinking_and_content() -> None:
    chat = Chat(stops=["STOP"])
    await chat.says({"reasoning_content": "ST"})
    await chat.says({"content": "OP"})
    thinking, content = await chat.ends()

    assert (thinking.thinking, content.content) == ("ST", "OP")


async def test_thinking_that_is_switched_off_is_dropped_and_counted() -> None:
    chat = Chat(shows_thinking=False)
    await chat.says({"reasoning_content": "Hm."})
    await chat.says({"content": "A"})
    (delta,) = await chat.ends()

    assert (delta.thinking, delta.content) == ("", "A")
    assert (chat.done.completion_tokens, chat.done.reasoning_tokens) == (2, 1)


def _probability(token_id: int, text: str) -> JsonObject:
    entry: JsonObject = {"id": token_id, "bytes": list(text.encode()), "logprob": -0.5}
    return {**entry, "top_logprobs": [entry]}


async def test_logprobs_are_those_of_the_text_that_is_sent() -> None:
    chat = Chat(top=1)
    await chat.says({"role": "assistant", "content": None}, logprobs=[_probability(7, "<t>")])
    await chat.says({"reasoning_content": "Hm"}, logprobs=[_probability(8, "Hm")])
    await chat.says(_call(0, "{}", "now"), logprobs=[_probability(9, "}")])
    thinking, call = (await chat.ends())[:2]

    assert [logprob.token_id for logprob in thinking.logprobs] == [8]
    assert [logprob.token for logprob in call.logprobs] == [b"}"]
    assert [other.token for other in call.logprobs[0].top] == [b"}"]


async def test_thinking_that_is_switched_off_has_no_logprobs() -> None:
    chat = Chat(top=1, shows_thinking=False, stops=["Hm?"])
    await chat.says({"reasoning_content": "So. "}, logprobs=[_probability(6, "So. ")])
    await chat.says({"reasoning_content": "Hm"}, logprobs=[_probability(7, "Hm")])
    await chat.says({"content": "H"}, logprobs=[_probability(8, "H")])
    await chat.says({"content": "i"}, logprobs=[_probability(9, "i")])
    deltas = await chat.ends()

    assert [logprob.token for delta in deltas for logprob in delta.logprobs] == [b"H", b"i"]


@pytest.mark.parametrize(
    ("said", "hidden", "warns"),
    [
        ([{"content": "A"}, {"content": "B"}], 1, False),
        ([{"content": "A"}], 2, True),
        ([], 2, True),
        ([{"reasoning_content": "A"}], 9, False),
        ([_call(0, "{}", "now")], 9, False),
    ],
)
async def test_tokens_that_the_parser_dropped_are_logged(
    said: list[JsonObject], hidden: int, warns: bool, caplog: pytest.LogCaptureFixture
) -> None:
    """Each text here is one token; the end-of-sequence token is hidden too."""
    chat = Chat()
    for delta in said:
        await chat.says(delta)
    await chat.ends(hidden=hidden)

    assert ("dropped the last 1 tokens" in caplog.text) is warns
