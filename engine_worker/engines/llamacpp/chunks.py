"""What llama-server's two kinds of answers have in common."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol, cast

from drover.v1 import engine_pb2 as pb
from engine_worker.engines.llamacpp.api import Json
from engine_worker.engines.numbers import finite

_FINISH = {"eos": pb.Done.STOP, "word": pb.Done.STOP, "limit": pb.Done.LENGTH}


class ChunkReader(Protocol):
    """Turns the chunks of one answer into events.

    `produced`: tokens so far; `all_ids`: the prompt's and the answer's, as far as they are known; `is_idle`:
    llama.cpp is done, which it may not be when the answer is `finished`.
    """

    produced: int
    finished: bool
    is_idle: bool
    all_ids: list[int]

    async def feed(self, chunk: Json, queue_ns: int) -> None: ...


def finish_reason(stop_type: str) -> pb.Done.FinishReason.ValueType:
    return _FINISH.get(stop_type, pb.Done.STOP)


def timings_of(timings: Mapping[str, float], queue_ns: int) -> pb.Timings:
    return pb.Timings(
        queue_ns=queue_ns,
        prefill_ns=_nanoseconds(timings["prompt_ms"]),
        decode_ns=_nanoseconds(timings["predicted_ms"]),
    )


def token_logprob(entry: Json, top: int, lead: bytes) -> pb.TokenLogprob:
    """The chosen token's own bytes are among its alternatives; the entry itself has the text of the chunk.
    `lead`: bytes of the tokens before it that llama-server says nothing of, since they end inside the
    character that this one completes. As in Ollama the character has one entry, with all its bytes.
    """
    alternatives = [
        pb.TokenLogprob.Alternative(
            token_id=cast(int, other["id"]),
            token=_bytes(other),
            logprob=finite(cast("float | None", other["logprob"])),
        )
        for other in cast("list[Json]", entry["top_logprobs"])
    ]
    chosen = cast(int, entry["id"])
    own = next((other.token for other in alternatives if other.token_id == chosen), None)
    return pb.TokenLogprob(
        token_id=chosen,
        token=_bytes(entry) if own is None else lead + own,
        logprob=finite(cast("float | None", entry["logprob"])),
        top=alternatives[:top],
    )


def lead_of(entry: Json) -> bytes:
    """The bytes before a token that completes a character, where the entry's text is that of its chunk."""
    whole, chosen = _bytes(entry), entry["id"]
    own = next(
        (_bytes(other) for other in cast("list[Json]", entry["top_logprobs"]) if other["id"] == chosen), b""
    )
    return whole[: -len(own)] if own and whole.endswith(own) else b""


def _bytes(entry: Json) -> bytes:
    return bytes(cast("list[int]", entry["bytes"]))


def _nanoseconds(milliseconds: float) -> int:
    return max(1, round(milliseconds * 1_000_000))
