"""Operations: parameters, bodies, responses and errors."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from http import HTTPStatus

from drover.errors import (
    ERROR_MAPPINGS,
    AdapterMissing,
    BodyTooLarge,
    CapabilityMissing,
    ConstraintRejected,
    ContextExceeded,
    DeadlineExceeded,
    DroverError,
    EngineFailed,
    EngineStalled,
    InternalError,
    InvalidOption,
    InvalidRequest,
    ModelNotFound,
    NotAuthenticated,
    NotOffered,
    NotPermitted,
    NotQueued,
    NotSignedIn,
    NotTransferable,
    NoWorkerReady,
    ProtocolBroken,
    QueueFull,
    RateLimited,
    ResponseNotFound,
    SourceFailed,
    StoreFull,
    StoreUnavailable,
    TemplateFailed,
    WorkerDraining,
    WorkerUnreachable,
)
from drover.json_value import Json
from frontend.openapi.schema import Schema, any_of, integer, ref, struct, text

JSON = "application/json"
NDJSON = "application/x-ndjson"
SSE = "text/event-stream"
TEXT = "text/plain"
CSV = "text/csv"

_REQUEST_ID: Schema = {
    "description": "The request's id, as in the logs of both tiers: the client's own, or a generated one.",
    "required": True,
    "schema": text(pattern="^[!-~]{1,128}$"),
}
SENT_REQUEST_ID: Schema = {
    "name": "X-Request-ID",
    "in": "header",
    "description": "The client's own id: 1 to 128 visible ASCII characters. Any other value is replaced.",
    "schema": text(),
}
TRUNCATED: Schema = {
    "description": "Number of tokens cut off the prompt or the texts. Absent if none were.",
    "schema": integer(minimum=1),
}
NOT_HONOURED: Schema = {
    "description": "Comma-separated names of fields and options that were ignored or only partly followed. "
    "Absent if there are none.",
    "schema": text(pattern=r"^[A-Za-z0-9_.-]{1,64}(, [A-Za-z0-9_.-]{1,64})*$"),
}
ROUTED_MODEL: Schema = {
    "description": "The model that answered, if the requested one chooses between others. Otherwise absent.",
    "schema": text(),
}
ROUTE_REASON: Schema = {
    "description": "Why that model was chosen: forced, ability, away, images, tools, length, or the judge's "
    "reason. Absent if there was no choice.",
    "schema": text(),
}
GENERATION_HEADERS: dict[str, Schema] = {
    "X-Drover-Truncated-Tokens": TRUNCATED,
    "X-Drover-Not-Honoured": NOT_HONOURED,
    "X-Drover-Routed-Model": ROUTED_MODEL,
    "X-Drover-Route-Reason": ROUTE_REASON,
}
EMBEDDING_HEADERS: dict[str, Schema] = {
    "X-Drover-Truncated-Tokens": TRUNCATED,
    "X-Drover-Not-Honoured": NOT_HONOURED,
}
_FOREIGN = "a web page of a disallowed origin, or, on a loopback address, a request with another host"
Responses = Mapping[int, Schema]
"""Responses by status."""


def response(
    description: str, content: Mapping[str, Schema] | None = None, headers: Mapping[str, Schema] | None = None
) -> Schema:
    """A response. `content`: a schema for each content type; None for a response without a body."""
    named: dict[str, Json] = {"X-Request-ID": _REQUEST_ID, **(headers or {})}
    result: Schema = {"description": description, "headers": named}
    if content is not None:
        result["content"] = {media: {"schema": schema} for media, schema in content.items()}
    return result


def ok(
    description: str, content: Mapping[str, Schema] | None = None, headers: Mapping[str, Schema] | None = None
) -> Responses:
    """The response with status 200."""
    return {HTTPStatus.OK: response(description, content, headers)}


def operation(
    operation_id: str,
    tag: str,
    summary: str,
    *responses: Responses,
    body: Schema | None = None,
    parameters: Sequence[Schema] = (),
) -> Schema:
    """An operation object, to which X-Request-ID and the 403 of every route are added."""
    result: Schema = {"operationId": operation_id, "tags": [tag], "summary": summary}
    result["parameters"] = [*parameters, {"$ref": "#/components/parameters/RequestId"}]
    if body is not None:
        result["requestBody"] = body
    by_status: dict[int, Schema] = {status: schema for each in responses for status, schema in each.items()}
    by_status[HTTPStatus.FORBIDDEN] = _forbidden(by_status.get(HTTPStatus.FORBIDDEN))
    result["responses"] = {str(int(status)): by_status[status] for status in sorted(by_status)}
    return result


def _forbidden(own: Schema | None) -> Schema:
    """The 403 that every route may get (frontend/middleware), added to the operation's `own`, if any."""
    if own is None:
        return response(f"Forbidden, without a body:\n\n- {_FOREIGN}")
    return {**own, "description": f"{own['description']}\n- without a body: {_FOREIGN}"}


def event(data: Schema, last: str = "") -> Schema:
    """One server-sent event whose data is JSON.

    `last`: the data of the stream's last event, which is not JSON. Without it events are named.
    """
    written: Schema = {"type": "string", "contentMediaType": JSON, "contentSchema": data}
    if not last:
        return struct(
            {"event": text(), "data": written},
            ["event", "data"],
            "The event's name is the `type` of its data.",
        )
    about = f"The last event is `{last}`, unless an error ends the stream."
    return struct({"event": text(), "data": any_of(written, text(const=last))}, ["data"], about)


def json_body(schema: Schema) -> Schema:
    """A required JSON body."""
    return {
        "required": True,
        "description": "JSON, whatever the Content-Type says. Field names match in any letter case; unlisted "
        "fields and bytes after the first value are ignored.",
        "content": {JSON: {"schema": schema}},
    }


def with_head(get: Schema) -> Schema:
    """The path item of a GET that also has HEAD."""
    responses = get["responses"]
    assert isinstance(responses, dict)
    bodiless: Schema = {
        status: {name: part for name, part in one.items() if name != "content"}
        for status, one in responses.items()
        if isinstance(one, dict)
    }
    return {"get": get, "head": {**get, "operationId": f"{get['operationId']}Head", "responses": bodiless}}


ErrorType = type[DroverError]

# All but ClientLeft, which no client can receive.
REASONS: Mapping[ErrorType, str] = {
    WorkerUnreachable: "the engine worker cannot be reached, or was lost during the request",
    WorkerDraining: "the engine worker or this server is shutting down",
    EngineFailed: "the engine failed on this request",
    ProtocolBroken: "the worker violated the protocol",
    AdapterMissing: "the worker could not be given the model's adapter",
    EngineStalled: "the engine worker stopped making progress on this request, which is not retried",
    QueueFull: "too many requests are queued",
    NoWorkerReady: "no engine worker that serves the model is ready",
    StoreUnavailable: "the database cannot be reached, or is full",
    StoreFull: "the store of a worker host has no room",
    RateLimited: "a limit of the client's key is reached, which the message names",
    DeadlineExceeded: "the body did not arrive in time, or the response exceeded its deadline",
    InvalidRequest: "no body, invalid JSON, or a value of the wrong type, out of range or unsupported",
    BodyTooLarge: "the body exceeds this server's limit",
    ModelNotFound: "there is no such model",
    InvalidOption: "a value in `options`, `format`, `template` or `quantize` that is invalid or unsupported",
    TemplateFailed: "the Go template cannot render this conversation",
    NotTransferable: "this server neither downloads models nor pushes them to a registry",
    CapabilityMissing: "the model lacks a required capability",
    ConstraintRejected: "the engine rejects the schema in `format`",
    ContextExceeded: "the prompt exceeds the model's context, and truncation is off",
    NotQueued: "no request with this id is queued here",
    SourceFailed: "the registry or hub that the model is pulled from failed",
    NotSignedIn: "this server has no accounts",
    NotAuthenticated: "the key is missing or not valid, where keys are used",
    NotPermitted: "the key's role or its models do not allow it",
    ResponseNotFound: "there is no such response of this client",
    NotOffered: "a model or a service of ollama.com, which this server does not use",
    InternalError: "an internal error of this server",
}

BODY_ERRORS: Sequence[ErrorType] = (InvalidRequest, BodyTooLarge, DeadlineExceeded, InternalError)
MODEL_ERRORS: Sequence[ErrorType] = (ModelNotFound, NoWorkerReady, StoreUnavailable)
ENGINE_ERRORS: Sequence[ErrorType] = (
    CapabilityMissing,
    ContextExceeded,
    InvalidOption,
    TemplateFailed,
    ProtocolBroken,
    AdapterMissing,
    ProtocolBroken,
    EngineStalled,
    WorkerUnreachable,
    WorkerDraining,
    QueueFull,
)
_NATIVE_ERROR = "Error"


def error_responses(
    error_types: Iterable[ErrorType],
    statuses: Mapping[ErrorType, int] | None = None,
    error: str = _NATIVE_ERROR,
) -> Responses:
    """The responses of these errors, with the statuses of the table in drover/errors.py.

    `statuses`: the route's own, where they differ from the table's. `error`: the dialect's error schema.
    """
    is_v1 = error != _NATIVE_ERROR
    by_status: dict[int, list[ErrorType]] = {}
    for each in dict.fromkeys(error_types):
        by_status.setdefault((statuses or {}).get(each, ERROR_MAPPINGS[each].status(is_v1)), []).append(each)
    return {status: _error_response(status, found, error) for status, found in by_status.items()}


def generation_errors(
    error: str = _NATIVE_ERROR, statuses: Mapping[ErrorType, int] | None = None
) -> Responses:
    """The error responses of a route that generates. `error`: the dialect's error schema; `statuses`: as in
    `error_responses`.
    """
    types = [*BODY_ERRORS, *MODEL_ERRORS, *ENGINE_ERRORS, ConstraintRejected, NotOffered]
    return error_responses(types, statuses, error)


def _error_response(status: int, error_types: Sequence[ErrorType], error: str) -> Schema:
    reasons = "".join(f"\n- {REASONS[each]}" for each in error_types)
    description = f"{HTTPStatus(status).phrase}:\n{reasons}"
    delays = [ERROR_MAPPINGS[each].retry_after_seconds for each in error_types]
    if not any(delays):
        return response(description, {JSON: ref(error)})
    retry_after: Schema = {
        "description": "Seconds after which the same request may succeed.",
        "required": all(delays),
        "schema": integer(minimum=1),
    }
    return response(description, {JSON: ref(error)}, {"Retry-After": retry_after})
