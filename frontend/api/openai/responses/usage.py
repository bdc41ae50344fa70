"""The usage of a response: what the last event says, or, of a response that failed, what is known so far."""

from __future__ import annotations

from drover.json_value import Json
from drover.v1 import engine_pb2 as pb


class UsageSoFar:
    """Counts the tokens of a response for the case that it fails.

    A token that is written without an event is counted by its frame, so that it costs nothing more.
    """

    def __init__(self) -> None:
        self._prompt = 0
        self._cached = 0
        self._produced = 0
        # Frames written when the last event had been handled.
        self._frames = 0

    def begin(self, event: pb.GenerateEvent, frames: int) -> None:
        """Note an event. `frames`: how many are written before it."""
        if event.HasField("started") and not self._prompt:
            self._prompt, self._cached = len(event.started.prompt_ids), event.started.cached_tokens
        self._produced += frames - self._frames
        for delta in event.deltas:
            self._produced = delta.completion_tokens or self._produced + len(delta.token_ids)

    def end(self, frames: int) -> None:
        """Note that the event's own frames are written."""
        self._frames = frames

    def usage(self, frames: int) -> Json:
        produced = self._produced + frames - self._frames
        return usage_of(
            pb.Done(prompt_tokens=self._prompt, cached_tokens=self._cached, completion_tokens=produced)
        )


def usage_of(done: pb.Done) -> Json:
    """The usage object of a response."""
    return {
        "input_tokens": done.prompt_tokens,
        "input_tokens_details": {"cached_tokens": done.cached_tokens, "cache_write_tokens": 0},
        "output_tokens": done.completion_tokens,
        "output_tokens_details": {"reasoning_tokens": done.reasoning_tokens},
        "total_tokens": done.prompt_tokens + done.completion_tokens,
    }
