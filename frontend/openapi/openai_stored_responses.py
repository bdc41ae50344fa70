"""/v1/responses/{id}, its cancellation and its input items."""

from __future__ import annotations

from drover.errors import (
    DeadlineExceeded,
    InternalError,
    InvalidRequest,
    QueueFull,
    ResponseNotFound,
    StoreUnavailable,
    WorkerDraining,
)
from frontend.api.openai.responses.stored_routes import DEFAULT_LIMIT, MAX_LIMIT
from frontend.openapi.openai_common import ERROR
from frontend.openapi.openai_responses import EVENTS
from frontend.openapi.operations import JSON, SSE, error_responses, event, ok, operation
from frontend.openapi.schema import Schema, array, boolean, integer, mapping, or_null, ref, struct, text

_ERRORS = error_responses([InvalidRequest, ResponseNotFound, StoreUnavailable, InternalError], error=ERROR)
# Reading also fails where other requests' bodies take all the memory.
_READ_ERRORS = error_responses(
    [
        InvalidRequest,
        ResponseNotFound,
        StoreUnavailable,
        QueueFull,
        DeadlineExceeded,
        WorkerDraining,
        InternalError,
    ],
    error=ERROR,
)


def _parameter(name: str, schema: Schema, place: str = "query") -> Schema:
    return {"name": name, "in": place, "required": place == "path", "schema": schema}


_ID = _parameter("id", text("Of a stored response of the same key, or address where there is none."), "path")
_PAGE: dict[str, Schema] = {
    "object": text(const="list"),
    "data": array(mapping({}), "Items as they were sent; those without an id have got one."),
    "first_id": or_null(text()),
    "last_id": or_null(text()),
    "has_more": boolean(),
}
_DELETED: dict[str, Schema] = {
    "id": text(),
    "object": text(const="response"),
    "deleted": boolean(const=True),
}

SCHEMAS: dict[str, Schema] = {
    "ResponsesInputItems": struct(_PAGE, [*_PAGE]),
    "DeletedResponse": struct(_DELETED, [*_DELETED]),
}
PATHS: dict[str, Schema] = {
    "/v1/responses/{id}": {
        "get": operation(
            "retrieveResponse",
            "openai",
            "A stored response",
            ok(
                "The response; with `stream` its events, those that are to come included.",
                {JSON: ref("Response"), SSE: event(EVENTS)},
            ),
            _READ_ERRORS,
            parameters=[
                _ID,
                _parameter(
                    "stream",
                    boolean("Only of those created with `background` and `stream`.", default=False),
                ),
                _parameter(
                    "starting_after",
                    integer("The sequence number of the last event that is not wanted.", minimum=-1),
                ),
            ],
        ),
        "delete": operation(
            "deleteResponse",
            "openai",
            "Delete a stored response, and end it if it runs",
            ok("It is deleted.", {JSON: ref("DeletedResponse")}),
            _ERRORS,
            parameters=[_ID],
        ),
    },
    "/v1/responses/{id}/cancel": {
        "post": operation(
            "cancelResponse",
            "openai",
            "Cancel a background response",
            ok("The response; unchanged if it has ended before.", {JSON: ref("Response")}),
            _ERRORS,
            parameters=[_ID],
        )
    },
    "/v1/responses/{id}/input_items": {
        "get": operation(
            "listInputItems",
            "openai",
            "The items that a stored response answers",
            ok("A page of them, those of the earlier turns included.", {JSON: ref("ResponsesInputItems")}),
            _READ_ERRORS,
            parameters=[
                _ID,
                _parameter("limit", integer(minimum=1, maximum=MAX_LIMIT, default=DEFAULT_LIMIT)),
                _parameter("order", text(enum=["asc", "desc"], default="desc")),
                _parameter("after", text("The id of the last item of the page before.")),
            ],
        )
    },
}
