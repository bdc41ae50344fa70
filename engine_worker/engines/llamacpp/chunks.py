"""Stream chunks of llama-server: the interface of readers, and the fields that both endpoints share."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol, cast

from drover.v1 import engine_pb2 as pb
from engine_worker.engines.llamacpp.api import JsonObject
from engine_worker.engines.numbers import finite

_FINISH = {"eos": pb.Done.STOP, "word": pb.Done.STOP, "limit": pb.Done.LENGTH}


class AnswerReader(Protocol):
    """Turns the chunks of one answer into events.

    `produced`: tokens generated so far. `all_ids`: ids of the prompt and of the answer, as far as known.
    `finished`: the answer has ended. `is_idle`: llama.cpp has stopped generating; it may not have when a stop
    text of Drover's ends the answer.
    """

    produced: int
    finished: bool
    is_idle: bool
    all_ids: list[int]

    async def feed(self, chunk: JsonObject, queue_ns: int) -> None: ...


def finish_reason(stop_type: str) -> pb.Done.FinishReason.ValueType:
    return _FINISH.get(stop_type, pb.Done.STOP)


def timings_of(timings: Mapping[str, float], queue_ns: int) -> pb.Timings:
    return pb.Timings(
        queue_ns=queue_ns,
        prefill_ns=_nanoseconds(timings["prompt_ms"]),
        decode_ns=_nanoseconds(timings["predicted_ms"]),
    )


def token_logprob(entry: JsonObject, top: int, lead: bytes) -> pb.TokenLogprob:
    """The log probability of one token, with at most `top` alternatives.

    The token's own bytes stand among its alternatives; the entry itself has the text of the whole chunk.
    `lead`: bytes of earlier tokens that end inside the character that this one completes and that
    llama-server reports no entry for. As in Ollama such a character has one entry with all its bytes.
    """
    alternatives = [
        pb.TokenLogprob.Alternative(
            token_id=cast(int, other["id"]),
            token=_bytes(other),
            logprob=finite(cast("float | None", other["logprob"])),
        )
        for other in cast("list[JsonObject]", entry["top_logprobs"])
    ]
    chosen = cast(int, entry["id"])
    own = next((other.token for other in alternatives if other.token_id == chosen), None)
    return pb.TokenLogprob(
        token_id=chosen,
        token=_bytes(entry) if own is None else lead + own,
        logprob=finite(cast("float | None", entry["logprob"])),
        top=alternatives[:top],
    )


def lead_of(entry: JsonObject) -> bytes:
    """The `lead` of `token_logprob`, taken from an entry whose bytes are those of the whole chunk."""
    whole, chosen = _bytes(entry), entry["id"]
    own = next(
        (_bytes(other) for other in cast("list[JsonObject]", entry["top_logprobs"]) if other["id"] == chosen),
        b"",
    )
    return whole[: -len(own)] if own and whole.endswith(own) else b""


def _bytes(entry: JsonObject) -> bytes:
    return bytes(cast("list[int]", entry["bytes"]))


def _nanoseconds(milliseconds: float) -> int:
    return max(1, round(milliseconds * 1_000_000))


class PrefillProgress:
    """Adds one request's computed prompt tokens to `prefill_tokens_done` while its prefill runs: stall
    detection counts that as progress.
    """

    def __init__(self, report: pb.LoadReport) -> None:
        self._report = report
        self._counted = 0

    def update(self, chunk: JsonObject) -> None:
        """llama.cpp reports after each step; its `processed` includes the cached tokens."""
        if "prompt_progress" in chunk:
            progress = cast("dict[str, int]", chunk["prompt_progress"])
            self._count(progress["processed"] - progress.get("cache", 0))

    def finish(self, computed_tokens: int) -> None:
        self._count(computed_tokens)

    def _count(self, computed_tokens: int) -> None:
        if computed_tokens > self._counted:
            self._report.prefill_tokens_done += computed_tokens - self._counted
            self._counted = computed_tokens
