"""From llama-server's chunks to events: every token id accounted for, also those it swallows.

A token that ends inside a character gives no chunk of its own; its id is found again by tokenising the
character that arrived at last (llama.cpp b11549 keeps such ids to itself in streams).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import cast

from drover.v1 import engine_pb2 as pb
from engine_worker.engines.llamacpp.api import Json
from engine_worker.engines.mailbox import Mailbox

TokenizeText = Callable[[str], Awaitable[list[int]]]
DetokenizeIds = Callable[[list[int]], Awaitable[str]]
_FINISH = {"eos": pb.Done.STOP, "word": pb.Done.STOP, "limit": pb.Done.LENGTH}


class Output:
    """Feed it the chunks of one completion, in order; it fills the mailbox."""

    def __init__(
        self,
        mailbox: Mailbox,
        started: pb.Started,
        top: int | None,
        tokenize: TokenizeText,
        detokenize: DetokenizeIds,
    ) -> None:
        self._mailbox = mailbox
        self._started: pb.Started | None = started
        self._prompt_tokens = len(started.prompt_ids)
        # Tokens without text so far: part of a stop prefix, or the end-of-sequence token.
        self._silent_ids: list[int] = []
        self._top = top
        self._tokenize = tokenize
        self._detokenize = detokenize
        self._sent: list[str] = []
        self._silent_logprobs: list[pb.TokenLogprob] = []
        self._seen = 0
        self.finished = False
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
        swallowed = produced - self._seen - len(ids)
        self._seen = produced
        if swallowed > 0:
            ids = await self._recover(text, ids, swallowed)
        self._silent_ids.extend(ids)
        self._silent_logprobs.extend(self._logprobs(chunk))
        if text:
            self._emit(text, produced)

    def _emit(self, text: str, produced: int) -> None:
        self._sent.append(text)
        self.all_ids.extend(self._silent_ids)
        self._mailbox.content(text, self._silent_ids, produced, self._silent_logprobs)
        self._silent_ids, self._silent_logprobs = [], []

    async def _recover(self, text: str, ids: list[int], swallowed: int) -> list[int]:
        whole = await self._tokenize(text)
        return whole if len(whole) == swallowed + len(ids) else whole[:swallowed] + ids

    def _logprobs(self, chunk: Json) -> list[pb.TokenLogprob]:
        if self._top is None:
            return []
        return [
            _logprob(entry, self._top)
            for entry in cast("list[Json]", chunk.get("completion_probabilities") or [])
        ]

    async def _held_back(self) -> str:
        """Text that looked like the beginning of a stop text when the answer ended: llama-server keeps it."""
        produced = self.all_ids[self._prompt_tokens :] + self._silent_ids
        text = (await self._detokenize(produced)).rstrip("\N{REPLACEMENT CHARACTER}")
        sent = "".join(self._sent)
        return text[len(sent) :] if text.startswith(sent) else ""

    async def _finish(self, chunk: Json, queue_ns: int) -> None:
        timings = cast("dict[str, float]", chunk["timings"])
        kind = str(chunk["stop_type"])
        if kind == "eos":
            del self._silent_ids[-1:], self._silent_logprobs[-1:]
        if self._silent_ids:
            self._emit("" if kind == "word" else await self._held_back(), self._seen)
        done = pb.Done(
            finish_reason=_FINISH.get(kind, pb.Done.STOP),
            prompt_tokens=self._prompt_tokens,
            cached_tokens=int(timings.get("cache_n", 0)),
            completion_tokens=cast(int, chunk["tokens_predicted"]),
            timings=pb.Timings(
                queue_ns=queue_ns,
                prefill_ns=_nanoseconds(timings["prompt_ms"]),
                decode_ns=_nanoseconds(timings["predicted_ms"]),
            ),
        )
        if kind == "word":
            done.matched_stop = str(chunk["stopping_word"])
        self.finished = True
        self._mailbox.done(done)


def _logprob(entry: Json, top: int) -> pb.TokenLogprob:
    """The chosen token's own bytes are among its alternatives; the entry itself has the text of the chunk."""
    alternatives = [
        pb.TokenLogprob.Alternative(
            token_id=cast(int, other["id"]),
            token=bytes(cast("list[int]", other["bytes"])),
            logprob=cast(float, other["logprob"]),
        )
        for other in cast("list[Json]", entry["top_logprobs"])
    ]
    chosen = cast(int, entry["id"])
    own = next((other.token for other in alternatives if other.token_id == chosen), None)
    return pb.TokenLogprob(
        token_id=chosen,
        token=bytes(cast("list[int]", entry["bytes"])) if own is None else own,
        logprob=cast(float, entry["logprob"]),
        top=alternatives[:top],
    )


def _nanoseconds(milliseconds: float) -> int:
    return max(1, round(milliseconds * 1_000_000))
