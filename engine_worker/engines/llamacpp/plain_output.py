"""Reads /completion's chunks of plain text: events with every token id, also of tokens without a chunk.

A token that ends inside a character gets no chunk of its own, and llama.cpp (b11549) leaves its id out of the
stream. The id is recovered from the bytes of the character, which arrive with the token that completes it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import cast

from drover.v1 import engine_pb2 as pb
from engine_worker.engines.llamacpp.api import JsonObject
from engine_worker.engines.llamacpp.chunks import finish_reason, timings_of, token_logprob
from engine_worker.engines.llamacpp.vocabulary import Vocabulary
from engine_worker.output.mailbox import Mailbox

TokenizeText = Callable[[str, int], Awaitable[list[int]]]
DetokenizeIds = Callable[[list[int]], Awaitable[str]]


class PlainOutput:
    """An AnswerReader for text without markup: all of it is content."""

    def __init__(
        self,
        mailbox: Mailbox,
        started: pb.Started,
        top: int | None,
        vocabulary: Vocabulary,
        tokenize: TokenizeText,
        detokenize: DetokenizeIds,
    ) -> None:
        self._mailbox = mailbox
        self._started: pb.Started | None = started
        self._prompt_tokens = len(started.prompt_ids)
        # Tokens whose text has not arrived: a possible stop text, or the end-of-sequence token.
        self._pending_ids: list[int] = []
        self._top = top
        self._vocabulary = vocabulary
        self._tokenize = tokenize
        self._detokenize = detokenize
        self._sent: list[str] = []
        self._pending_logprobs: list[pb.TokenLogprob] = []
        self.produced = 0
        self.finished = self.is_idle = False
        self.all_ids: list[int] = list(started.prompt_ids)

    async def feed(self, chunk: JsonObject, queue_ns: int) -> None:
        if "prompt_progress" in chunk:
            return
        if self._started is not None:
            self._mailbox.started(self._started)
            self._started = None
        if chunk.get("stop"):
            await self._finish(chunk, queue_ns)
        else:
            await self._delta(chunk)

    async def _delta(self, chunk: JsonObject) -> None:
        text = str(chunk["content"])
        ids = cast("list[int]", chunk["tokens"])
        produced = cast(int, chunk["tokens_predicted"])
        missing = produced - self.produced - len(ids)
        self.produced = produced
        lead = b""
        if missing > 0:
            ids, lead = await self._recover(text, ids, missing)
        self._pending_ids.extend(ids)
        self._pending_logprobs.extend(self._logprobs(chunk, lead))
        if text:
            self._emit(text, produced)

    def _emit(self, text: str, produced: int) -> None:
        self._sent.append(text)
        self.all_ids.extend(self._pending_ids)
        self._mailbox.content(text, self._pending_ids, produced, self._pending_logprobs)
        self._pending_ids, self._pending_logprobs = [], []

    async def _recover(self, text: str, ids: list[int], missing: int) -> tuple[list[int], bytes]:
        """All ids of a chunk, with the `missing` ones that end inside a character in front, and the bytes of
        those, if known.
        """
        has_earlier = bool(self._pending_ids)
        split = self._vocabulary.before(ids[0], text, missing, has_more=has_earlier) if ids else None
        if split is not None:
            return split.ids + ids, split.data
        whole = await self._tokenize(text, missing + len(ids))
        return whole if len(whole) == missing + len(ids) else whole[:missing] + ids, b""

    def _logprobs(self, chunk: JsonObject, lead: bytes) -> list[pb.TokenLogprob]:
        if self._top is None:
            return []
        return [
            token_logprob(entry, self._top, lead)
            for entry in cast("list[JsonObject]", chunk.get("completion_probabilities") or [])
        ]

    async def _held_back(self) -> str:
        """The end of the text that llama-server does not send because it looks like the beginning of a stop
        text.
        """
        produced = [
            token
            for token in self.all_ids[self._prompt_tokens :] + self._pending_ids
            if token not in self._vocabulary.hidden
        ]
        text = (await self._detokenize(produced)).rstrip("\N{REPLACEMENT CHARACTER}")
        sent = "".join(self._sent)
        return text[len(sent) :] if text.startswith(sent) else ""

    async def _finish(self, chunk: JsonObject, queue_ns: int) -> None:
        timings = cast("dict[str, float]", chunk["timings"])
        kind = str(chunk["stop_type"])
        if kind == "eos":
            del self._pending_ids[-1:], self._pending_logprobs[-1:]
        if self._pending_ids:
            self._emit("" if kind == "word" else await self._held_back(), self.produced)
        done = pb.Done(
            finish_reason=finish_reason(kind),
            prompt_tokens=self._prompt_tokens,
            cached_tokens=int(timings.get("cache_n", 0)),
            completion_tokens=cast(int, chunk["tokens_predicted"]),
            timings=timings_of(timings, queue_ns),
        )
        if kind == "word":
            done.matched_stop = str(chunk["stopping_word"])
        self._complete(done)
        self.finished = self.is_idle = True
        self._mailbox.done(done)

    def _complete(self, done: pb.Done) -> None:
        """Hook for subclasses: emit remaining text, and complete the fields of Done."""
