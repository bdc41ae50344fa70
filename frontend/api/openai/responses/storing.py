"""Stores the responses of POST /v1/responses, and starts those that run in the background."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass

from fastapi import Request
from starlette.responses import Response

from drover import logs
from drover.concurrency import run_in_thread_if_large
from drover.errors import InvalidRequest, StoreUnavailable
from drover.json_value import Json
from frontend.api.core.body import INLINE_BYTES
from frontend.api.core.go_json import dump_text, dumps
from frontend.api.generation import BuiltRequest, Generation
from frontend.api.openai.responses.background import BackgroundResponses, BackgroundRun
from frontend.api.openai.responses.event_stream import EventStream, RunEvents
from frontend.api.openai.responses.input_items import identified
from frontend.api.openai.responses.output import OutputItems
from frontend.api.openai.responses.request import ResponsesRequest
from frontend.api.openai.responses.stored_encode import BackgroundEncoder, StoringEncoder
from frontend.api.response import EngineResponse
from frontend.api.wire import JSON, ignored_header
from frontend.middleware.held_bodies import held_body_of
from frontend.models.running_responses import RunningResponses
from frontend.models.stored_responses import StoredResponse, StoredResponses
from frontend.observability.request_record import RequestRecord, attach_record, record_of

_log = logging.getLogger("drover.frontend")


@dataclass(frozen=True, slots=True)
class ResponseStore:
    """What stores responses. `max_bytes`: of one response with its input."""

    stored: StoredResponses
    running: RunningResponses
    background: BackgroundResponses
    max_bytes: int


@dataclass(frozen=True, slots=True)
class Storing:
    """Answers one request and stores the response. `own_items`: its input without earlier turns. `ignored`:
    names of fields without effect.
    """

    store: ResponseStore
    generation: Generation
    http: Request
    request: ResponsesRequest
    own_items: Sequence[Json]
    ignored: Sequence[str]

    async def respond(self, built: BuiltRequest, output: OutputItems) -> Response:
        """The response is stored before its last byte is sent, so that the next turn finds it."""
        items = await self._items(output)
        fits = len(items) <= self.store.max_bytes
        self.request.echo["store"] = fits
        record, chat = record_of(self.http.scope), self.request.chat
        encoder = StoringEncoder(self.request.echo, output, record.route_fields)

        async def keep() -> None:
            row = StoredResponse(
                output.response_id,
                record.client,
                encoder.status,
                encoder.document,
                items,
                self.request.previous_response_id,
            )
            await self._put(row)

        handle = self.generation.submit(self.http, built, chat.stream)
        ignored = [*self.ignored, *([] if fits else ["store"])]
        return EngineResponse(
            encoder, handle, chat.stream, self.generation.in_flight, ignored, keep if fits else None
        )

    async def respond_in_background(self, built: BuiltRequest, output: OutputItems) -> Response:
        """Raises InvalidRequest, QueueFull and StoreUnavailable."""
        items = await self._items(output)
        if len(items) > self.store.max_bytes:
            raise InvalidRequest(
                f"background: the input has {len(items)} bytes, and a stored response at most "
                f"{self.store.max_bytes}"
            )
        self.request.echo["store"] = True
        http = self._detached(output.response_id)
        record = record_of(http.scope)
        encoder = BackgroundEncoder(self.request.echo, output, record.route_fields)
        row = StoredResponse(
            output.response_id,
            record.client,
            "queued",
            dumps(encoder.snapshot("queued")),
            items,
            self.request.previous_response_id,
            self.store.running.runner,
            self.store.running.lease_unix_ns(),
        )
        streamed = self.request.chat.stream
        held = held_body_of(self.http.scope)
        run = BackgroundRun(row, encoder, streamed, self.store.max_bytes, held)
        if streamed:
            run.log.append(encoder.beginning())
        record.send_body = run.send
        handle = self.generation.submit(http, built, stream=True)
        response = EngineResponse(encoder, handle, True, self.generation.in_flight, self.ignored)
        await self.store.background.begin(run, response, http.scope)
        # It ends with the response, not with this request.
        record.admission, record_of(self.http.scope).admission = record_of(self.http.scope).admission, None
        if streamed:
            return EventStream(RunEvents(run.log), 0, self.generation.in_flight, self.ignored)
        return Response(row.document, media_type=JSON, headers=ignored_header(self.ignored))

    async def _items(self, output: OutputItems) -> bytes:
        return await run_in_thread_if_large(
            lambda: dump_text(identified(self.own_items, output.token)).encode(),
            held_body_of(self.http.scope).length,
            INLINE_BYTES,
        )

    async def _put(self, row: StoredResponse) -> None:
        """The client gets its answer also if it cannot be stored."""
        try:
            if len(row.document) + len(row.input) > self.store.max_bytes:
                raise StoreUnavailable(f"it has more than {self.store.max_bytes} bytes")
            await self.store.stored.put(row)
        except StoreUnavailable as error:
            record_of(self.http.scope).fields["not_stored"] = True
            reason = str(error.__cause__ or error)
            logs.event(_log, logging.WARNING, "response not stored", response=row.id, reason=reason)

    def _detached(self, response_id: str) -> Request:
        """The same request with a record of its own: its client's connection ends before its answer."""
        scope, record = self.http.scope, record_of(self.http.scope)
        detached = {**scope, "state": {}}
        fields = {**record.fields, "response": response_id}
        # The usage counts the request once, with the record that gets the answer.
        model, record.model = record.model, ""
        attach_record(
            detached,
            RequestRecord(
                record.request_id,
                record.send_body,
                record.client,
                record.address,
                record.key,
                scheduling=record.scheduling,
                is_understood=True,
                status=200,
                fields=fields,
                model=model,
                served=record.served,
                trace=None if record.trace is None else record.trace.detached(),
            ),
        )
        return Request(detached)
