"""POST /v1/responses/compact, and the compactions of POST /v1/responses."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

from fastapi import APIRouter, Request
from starlette.responses import Response

from drover.errors import InvalidRequest
from drover.json_value import Json
from frontend.api.generation import Generation
from frontend.api.openai.responses.compaction import TRIGGER, empty_compaction
from frontend.api.openai.responses.compaction_encode import (
    CompactionEncoder,
    CompactionEvents,
    CompactionObject,
)
from frontend.api.openai.responses.compaction_response import CompactionResponse, Summarizer
from frontend.api.openai.responses.incoming import IncomingBodies
from frontend.api.openai.responses.input_items import identified, is_user_message, sent_items
from frontend.api.openai.responses.output import OutputItems
from frontend.api.openai.responses.request import SESSION_HEADER, ResponsesRequest
from frontend.api.openai.responses.summary import SummaryRequests
from frontend.http.routes import direct_router
from frontend.observability.request_record import record_of


@dataclass(frozen=True, slots=True)
class CompactRequest:
    """A body of /v1/responses/compact. `kept`: the user's messages, which stay as they are."""

    request: ResponsesRequest
    kept: Sequence[Json]

    @classmethod
    def read(cls, body: Json) -> CompactRequest:
        request = ResponsesRequest.read(body)
        if request.compacts:
            raise InvalidRequest(f"{TRIGGER} is only valid on POST /v1/responses")
        items = identified(sent_items(body), secrets.token_hex(12))
        if request.chat.model and not items:
            raise empty_compaction()
        return cls(request, [item for item in items if is_user_message(item)])


@dataclass(frozen=True, slots=True)
class Compactions:
    generation: Generation
    bodies: IncomingBodies

    async def compact(self, http: Request) -> Response:
        compact = (await self.bodies.read(http, CompactRequest.read)).wanted
        extra_fields = record_of(http.scope).route_fields
        encoder = CompactionObject(OutputItems({}), compact.kept, extra_fields)
        return await self._respond(http, compact.request, encoder, stream=False)

    async def stream(self, http: Request, request: ResponsesRequest) -> Response:
        """The response to a request whose input ends with the trigger. Raises InvalidRequest where it is not
        streamed.
        """
        if not request.chat.stream:
            raise InvalidRequest(f"{TRIGGER} requires stream=true")
        if request.background:
            raise InvalidRequest(f"{TRIGGER} is not possible with background: true")
        extra_fields = record_of(http.scope).route_fields
        encoder = CompactionEvents(request.echo, OutputItems({}), extra_fields)
        return await self._respond(http, request, encoder, stream=True)

    async def _respond(
        self, http: Request, request: ResponsesRequest, encoder: CompactionEncoder, stream: bool
    ) -> Response:
        if not request.chat.model:
            raise InvalidRequest("model is required")
        model = await self.generation.find(http, request.chat.model)
        caller, session = record_of(http.scope).client, http.headers.get(SESSION_HEADER, "")
        extend = partial(request.set_extras, caller=caller, session=session)
        requests = SummaryRequests(request.chat, request.tool_choice, model.info.context_length, extend)
        summarizer = Summarizer(self.generation, http, model, requests)
        first = await summarizer.first()
        unused = {"store": bool(request.store), "priority": request.extras.priority is not None}
        ignored = [*request.ignored, *(name for name, is_set in unused.items() if is_set)]
        return CompactionResponse(encoder, summarizer, first, stream, ignored)


def router(compactions: Compactions) -> APIRouter:
    routes = direct_router()
    routes.add_api_route("/v1/responses/compact", compactions.compact, methods=["POST"])
    return routes
