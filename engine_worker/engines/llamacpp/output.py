"""From llama-server's chunks to events: every token id accounted for, also those it swallows.

A token that ends inside a character gives no chunk of its own; its id is found again by its bytes, which are
those of the character that arrived at last (llama.cpp b11549 keeps such ids to itself in streams).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import cast

from drover.v1 import engine_pb2 as pb
from engine_worker.engines.llamacpp.api import Json
from engine_worker.engines.llamacpp.chunks import finish_reason, timings_of, token_logprob
from engine_worker.engines.llamacpp.vocabulary import Vocabulary
from engine_worker.output.mailbox import Mailbox

TokenizeText = Callable[[str, int], Awaitable[list[int]]]
DetokenizeIds = Callable[[list[int]], Awaitable[str]]


class Output:
    """Feed it the chunks of one completion, in order; it fills the mailbox."""

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
        # Tokens without text so far: part of a stop prefix, or the end-of-sequence token.
        self._silent_ids: list[int] = []
        self._top = top
        self._vocabulary = vocabulary
        self._tokenize = tokenize
        self._detokenize = detokenize
        self._sent: list[str] = []
        self._silent_logprobs: list[pb.TokenLogprob] = []
        self.produced = 0
        self.finished = self.is_idle = False
        self.all_ids: list[int] = list(started.prompt_ids)

    async def feed(self, chunk: Json, queue_ns: int) -> None:
        if "prompt_progress" in chunk:
            return
        if self._started is not None:
            self._mailbox.started(self._started)
            self._started = None
        if chunk.get("stop"):
            await self._finish(chunk, queue_ns)
        else:
            await self._delta(chunk)

    async def _delta(self, chunk: Json) -> None:
        text = str(chunk["content"])
        ids = cast("list[int]", chunk["tokens"])
        produced = cast(int, chunk["tokens_predicted"])
        swallowed = produced - self.produced - len(ids)
        self.produced = produced
        lead = b""
        if swallowed > 0:
            ids, lead = await self._recover(text, ids, swallowed)
        self._silent_ids.extend(ids)
        self._silent_logprobs.extend(self._logprobs(chunk, lead))
        if text:
            self._emit(text, produced)

    def _emit(self, text: str, produced: int) -> None:
        self._sent.append(text)
        self.all_ids.extend(self._silent_ids)
        self._mailbox.content(text, self._silent_ids, produced, self._silent_logprobs)
        self._silent_ids, self._silent_logprobs = [], []

    async def _recover(self, text: str, ids: list[int], swallowed: int) -> tuple[list[int], bytes]:
        """All ids, and the bytes of those that were swallowed, as far as they are known."""
        held = bool(self._silent_ids)
        split = self._vocabulary.before(ids[0], text, swallowed, has_more=held) if ids else None
        if split is not None:
            return split.ids + ids, split.data
        whole = await self._tokenize(text, swallowed + len(ids))
        return whole if len(whole) == swallowed + len(ids) else whole[:swallowed] + ids, b""

    def _logprobs(self, chunk: Json, lead: bytes) -> list[pb.TokenLogprob]:
        if self._top is None:
            return []
        return [
            token_logprob(entry, self._top, lead)
            for entry in cast("list[Json]", chunk.get("completion_probabilities") or [])
        ]

    async def _held_back(self) -> str:
        """Text that looked like the beginning of a stop text when the answer ended: llama-server keeps it."""
        produced = [
            token
            for token in self.all_ids[self._prompt_tokens :] + self._silent_ids
            if token not in self._vocabulary.hidden
        ]
        text = (await self._detokenize(produced)).rstrip("\N{REPLACEMENT CHARACTER}")
        sent = "".join(self._sent)
        return text[len(sent) :] if text.startswith(sent) else ""

    async def _finish(self, chunk: Json, queue_ns: int) -> None:
        timings = cast("dict[str, float]", chunk["timings"])
        kind = str(chunk["stop_type"])
        if kind == "eos":
            del self._silent_ids[-1:], self._silent_logprobs[-1:]
        if self._silent_ids:
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
        """What is shown and said at the very end."""
