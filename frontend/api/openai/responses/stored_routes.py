"""GET and DELETE /v1/responses/{id}, its cancellation, and its input items."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

import orjson
from fastapi import APIRouter, Request
from starlette.responses import Response

from drover.errors import InvalidRequest, ResponseNotFound
from drover.json_value import Json
from frontend.api.core.go_json import dumps
from frontend.api.in_flight import InFlightRequests
from frontend.api.openai.responses.event_stream import EventStream, RowEvents, RunEvents
from frontend.api.openai.responses.incoming import NOT_STORED, items_of
from frontend.api.openai.responses.input_items import item_id
from frontend.api.openai.responses.lost import end_lost
from frontend.api.openai.responses.output import is_response_id
from frontend.api.openai.responses.storing import ResponseStore
from frontend.api.wire import JSON
from frontend.http.routes import direct_router
from frontend.middleware.held_bodies import held_body_of
from frontend.models.running_responses import Progress
from frontend.models.stored_responses import StoredResponse
from frontend.observability.request_record import record_of

DEFAULT_LIMIT, MAX_LIMIT = 20, 100


@dataclass(frozen=True, slots=True)
class StoredRoutes:
    """`store` is None where nothing is stored: then every request is refused."""

    store: ResponseStore | None
    in_flight: InFlightRequests

    async def retrieve(self, http: Request) -> Response:
        store, response = await self._find(http)
        if _flag(http, "stream"):
            return await self._stream(http, store, response)
        run = store.background.get(response.id, response.owner)
        document = run.document if run is not None else _document(response)
        return _json(document)

    async def delete(self, http: Request) -> Response:
        store, response = await self._find(http)
        if not await store.stored.delete(response.id, response.owner):
            raise _missing(response.id)
        _cancel_here(store, response)
        return _json(dumps({"id": response.id, "object": "response", "deleted": True}))

    async def cancel(self, http: Request) -> Response:
        """A response that has ended is returned as it is."""
        store, response = await self._find(http)
        if orjson.loads(response.document).get("background") is not True:
            raise InvalidRequest(
                f"Response '{response.id}' cannot be cancelled: only responses with background: true can be; "
                "close the connection of any other"
            )
        run = store.background.get(response.id, response.owner)
        if run is not None and run.is_ended:
            # Its end is not in its row yet.
            return _json(run.document)
        if response.is_running:
            document = run.cancelled_document if run is not None else _cancelled(response)
            await store.running.end(Progress(response.id, "cancelled"), document, response.runner)
            _cancel_here(store, response)
        return _json(_document(await self._again(store, response)))

    async def input_items(self, http: Request) -> Response:
        """Those of earlier turns too, which are a part of what the model got."""
        store, response = await self._find(http)
        page = _Page.read(http)
        turns = await store.stored.turns(response.id, response.owner, held_body_of(http.scope).grow)
        if not turns:
            raise _missing(response.id)
        earlier = await items_of(turns[:-1])
        return _json(dumps(page.of([*earlier, *orjson.loads(turns[-1].input)])))

    async def _stream(self, http: Request, store: ResponseStore, response: StoredResponse) -> Response:
        after = _number(http, "starting_after", -1, -1, 2**53)
        run = store.background.get(response.id, response.owner)
        if run is not None and run.streamed:
            return EventStream(RunEvents(run.log), after + 1, self.in_flight)
        if not await store.running.has_events(response.id):
            raise InvalidRequest(
                f"Response '{response.id}' cannot be streamed: it was not created with background: true and "
                "stream: true"
            )
        rows = RowEvents(store.stored, store.running, response.id, response.owner)
        return EventStream(rows, after + 1, self.in_flight)

    async def _find(self, http: Request) -> tuple[ResponseStore, StoredResponse]:
        """The client's own response. Raises ResponseNotFound, and InvalidRequest where nothing is stored."""
        store, response_id = self.store, str(http.path_params["id"])
        if store is None:
            raise InvalidRequest(f"Response with id '{response_id}' not found: {NOT_STORED}")
        client, known = record_of(http.scope).client, is_response_id(response_id)
        response = await store.stored.get(response_id, client) if known else None
        if response is None:
            raise _missing(response_id)
        if response.is_lost(time.time_ns()) and store.background.get(response.id, response.owner) is None:
            await end_lost(store.running, response)
            response = await self._again(store, response)
        return store, response

    async def _again(self, store: ResponseStore, response: StoredResponse) -> StoredResponse:
        found = await store.stored.get(response.id, response.owner)
        if found is None:
            raise _missing(response.id)
        return found


@dataclass(frozen=True, slots=True)
class _Page:
    after: str
    limit: int
    ascending: bool

    @classmethod
    def read(cls, http: Request) -> _Page:
        """Raises InvalidRequest."""
        order = http.query_params.get("order", "desc")
        if order not in ("asc", "desc"):
            raise InvalidRequest(f'order: "{order}" is neither "asc" nor "desc"')
        limit = _number(http, "limit", DEFAULT_LIMIT, 1, MAX_LIMIT)
        return cls(http.query_params.get("after", ""), limit, order == "asc")

    def of(self, items: Sequence[Json]) -> dict[str, Json]:
        ordered = [*items] if self.ascending else [*reversed(items)]
        if self.after:
            places = [number for number, item in enumerate(ordered) if item_id(item) == self.after]
            if not places:
                raise InvalidRequest(f"after: there is no item with id '{self.after}'")
            # Clients may send an item twice; after the first one, pages would repeat.
            ordered = ordered[places[-1] + 1 :]
        page = ordered[: self.limit]
        return {
            "object": "list",
            "data": page,
            "first_id": item_id(page[0]) if page else None,
            "last_id": item_id(page[-1]) if page else None,
            "has_more": len(ordered) > len(page),
        }


def _document(response: StoredResponse) -> bytes:
    """The response object; the status of one that runs is in its row."""
    if not response.is_running:
        return response.document
    return dumps({**orjson.loads(response.document), "status": response.status})


def _cancelled(response: StoredResponse) -> bytes:
    """The response object of one that another frontend runs."""
    return dumps({**orjson.loads(response.document), "status": "cancelled"})


def _cancel_here(store: ResponseStore, response: StoredResponse) -> None:
    """Other frontends see it in the row."""
    if (run := store.background.get(response.id, response.owner)) is not None:
        run.cancel()


def _flag(http: Request, name: str) -> bool:
    """Raises InvalidRequest for a value that is no boolean."""
    value = http.query_params.get(name, "false").lower()
    if value not in ("true", "false", "1", "0", ""):
        raise InvalidRequest(f'{name}: "{value}" is neither "true" nor "false"')
    return value in ("true", "1")


def _number(http: Request, name: str, default: int, least: int, most: int) -> int:
    text = http.query_params.get(name, "")
    if not text:
        return default
    value = int(text) if text.removeprefix("-").isdecimal() and len(text) <= 16 else None
    if value is None or not least <= value <= most:
        raise InvalidRequest(f'{name}: "{text}" is not a number between {least} and {most}')
    return value


def _missing(response_id: str) -> ResponseNotFound:
    return ResponseNotFound(f"Response with id '{response_id}' not found.")


def _json(document: bytes) -> Response:
    return Response(document, media_type=JSON)


def router(store: ResponseStore | None, in_flight: InFlightRequests) -> APIRouter:
    routes = direct_router()
    stored = StoredRoutes(store, in_flight)
    routes.add_api_route("/v1/responses/{id}", stored.retrieve, methods=["GET"])
    routes.add_api_route("/v1/responses/{id}", stored.delete, methods=["DELETE"])
    routes.add_api_route("/v1/responses/{id}/cancel", stored.cancel, methods=["POST"])
    routes.add_api_route("/v1/responses/{id}/input_items", stored.input_items, methods=["GET"])
    return routes
