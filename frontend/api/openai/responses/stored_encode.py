"""Encoders that keep the response object, to be stored."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from starlette.responses import Response

from drover.errors import DroverError
from drover.json_value import Json
from drover.v1 import engine_pb2 as pb
from frontend.api.core.go_json import dumps
from frontend.api.openai.responses.encode import ResponsesEncoder

_RESPONSE = "response"


class StoringEncoder(ResponsesEncoder):
    """Keeps the last response object that it has encoded."""

    _last: bytes | Mapping[str, Json] = b""
    _status_of_last = ""

    @property
    def status(self) -> str:
        """The status in that object."""
        return self._status_of_last

    @property
    def document(self) -> bytes:
        """The response object as JSON."""
        return self._last if isinstance(self._last, bytes) else dumps(self._last)

    def body(self, events: Sequence[pb.GenerateEvent]) -> bytes:
        self._last = super().body(events)
        return self._last

    def _response(
        self, status: str, items: Sequence[Mapping[str, Json]], done: pb.Done | None = None
    ) -> dict[str, Json]:
        self._status_of_last = status
        return super()._response(status, items, done)

    def _event(self, name: str, members: Mapping[str, Json]) -> bytes:
        response = members.get(_RESPONSE)
        if isinstance(response, dict):
            self._last = response
        return super()._event(name, members)


class BackgroundEncoder(StoringEncoder):
    """Encodes everything as events, also an error before the first token: no client waits for a status.
    `text_bytes`: of the texts in the response object.
    """

    text_bytes = 0

    def _grow(self, text: str) -> bytes:
        self.text_bytes += len(text.encode())
        return super()._grow(text)

    def beginning(self) -> bytes:
        return self._begin()

    def heartbeat(self) -> bytes:
        """None: only events are numbered."""
        return b""

    def error_response(self, error: DroverError, streamed: bool) -> Response:
        return Response(self.error_line(error))

    def snapshot(self, status: str) -> dict[str, Json]:
        """The response as far as it has come. Its status is not the encoder's, which may have encoded the end
        already.
        """
        items = [self._output.item(block, "incomplete") for block in self._blocks.all]
        return ResponsesEncoder._response(self, status, items)

    def cancelled(self) -> bytes:
        """The last event of a response that was cancelled. OpenAI has no event of that name."""
        self._status_of_last = "cancelled"
        return self._event("response.incomplete", {_RESPONSE: self.snapshot_of_cancelled()})

    def snapshot_of_cancelled(self) -> dict[str, Json]:
        return {**self.snapshot("cancelled"), "usage": self._usage.usage(self._number)}
