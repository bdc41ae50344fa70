"""A compaction to bytes: as events on /v1/responses, as an object on /v1/responses/compact."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Protocol

from drover.json_value import Json
from drover.v1 import engine_pb2 as pb
from frontend.api.core.go_json import dumps
from frontend.api.openai.responses.compaction import Compaction
from frontend.api.openai.responses.encode import ResponsesEncoder
from frontend.api.openai.responses.output import OutputItems
from frontend.api.openai.responses.usage import usage_of
from frontend.api.response import ResponseFormat
from frontend.api.wire import ExtraFields


class CompactionEncoder(ResponseFormat, Protocol):
    def beginning(self) -> bytes:
        """The first frames of a stream; empty for a response that is not streamed."""

    def count(self, event: pb.GenerateEvent) -> None:
        """Count an event, for the usage of a response that fails."""

    def compacted(self, compaction: Compaction, done: pb.Done) -> bytes:
        """The rest of the stream, or the whole body."""


class CompactionEvents(ResponsesEncoder):
    """A response whose only item is the compaction. Implements CompactionEncoder."""

    def beginning(self) -> bytes:
        return self._begin()

    def compacted(self, compaction: Compaction, done: pb.Done) -> bytes:
        item = compaction.item(self._output.compaction_id)
        place: dict[str, Json] = {"output_index": 0, "item": item}
        events = [self._event(f"response.output_item.{step}", place) for step in ("added", "done")]
        response = {**self._response("completed", [item], done), **self._extra_fields()}
        return b"".join([*events, self._event("response.completed", {"response": response})])


class CompactionObject(ResponsesEncoder):
    """The answer of /v1/responses/compact. `kept`: items that stay, before the compaction. Implements
    CompactionEncoder.
    """

    def __init__(self, output: OutputItems, kept: Sequence[Json], extra_fields: ExtraFields = dict) -> None:
        super().__init__({}, output, extra_fields)
        self._kept = kept

    def beginning(self) -> bytes:
        return b""

    def compacted(self, compaction: Compaction, done: pb.Done) -> bytes:
        return dumps(
            {
                "id": self._output.response_id,
                "object": "response.compaction",
                "created_at": int(time.time()),
                "output": [*self._kept, compaction.item(self._output.compaction_id)],
                "usage": usage_of(done),
                **self._extra_fields(),
            }
        )
