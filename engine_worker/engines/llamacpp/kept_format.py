"""Whether an answer is in its format after all.

llama.cpp goes on without a grammar where its library gives up in mid-answer, and says so to its log alone.
"""

from __future__ import annotations

import json

from drover.errors import ConstraintRejected
from drover.v1 import engine_pb2 as pb


class KeptFormat:
    """For answers that are one JSON text when they end by themselves."""

    def __init__(self) -> None:
        self._parts: list[str] = []

    def saw(self, event: pb.GenerateEvent) -> None:
        """Raises ConstraintRejected with the last event. An answer that was cut is not looked at."""
        self._parts.extend(delta.content for delta in event.deltas if delta.content)
        done = event.done
        if not event.HasField("done") or done.finish_reason != pb.Done.STOP or done.HasField("matched_stop"):
            return
        try:
            json.loads("".join(self._parts), strict=False)
        except ValueError as error:
            raise ConstraintRejected(
                f"the engine did not keep to the format: {error}; make the schema smaller or simpler"
            ) from error
