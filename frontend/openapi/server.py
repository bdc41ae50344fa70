"""Routes of the server itself, its probes, and of accounts."""

from __future__ import annotations

from http import HTTPStatus

from drover.errors import InvalidRequest, NotOffered, NotPermitted, NotQueued, NotSignedIn, StoreUnavailable
from frontend.openapi.operations import (
    CSV,
    JSON,
    TEXT,
    ErrorType,
    error_responses,
    ok,
    operation,
    response,
    with_head,
)
from frontend.openapi.schema import Schema, array, boolean, integer, number, struct, text
from frontend.usage.query import MAX_CHARACTERS, MAX_LIMIT

_CLOUD = struct(
    {"disabled": boolean(), "source": text(enum=["none", "env", "config", "both"])}, ["disabled", "source"]
)
_KEY: Schema = {"name": "key", "in": "path", "required": True, "schema": text(minLength=1)}


_IN_QUEUE = struct(
    {
        "id": text(),
        "position": integer("1 is the next one.", minimum=1),
        "waiting": integer("Number of requests queued for that model in this frontend.", minimum=1),
        "expected_wait_seconds": number(
            "From the queue's recent progress, or the rest of the model's load; 0: not known.", minimum=0
        ),
    },
    ["id", "position", "waiting", "expected_wait_seconds"],
)
_ID: Schema = {
    "name": "id",
    "in": "query",
    "required": True,
    "description": "The request's X-Request-ID.",
    "schema": text(minLength=1),
}


_COUNTS: dict[str, Schema] = {
    "requests": integer("For a model, and those that were refused before it was known.", minimum=0),
    "refusals": integer("Of these: refused for want of room, or by a limit.", minimum=0),
    "prompt_tokens": integer(minimum=0),
    "cached_tokens": integer("Of the prompt tokens: found in the prefix cache.", minimum=0),
    "generated_tokens": integer("With those of responses that were cut off.", minimum=0),
    "queued_seconds": number("In the queues of frontend and worker.", minimum=0),
    "running_seconds": number("At workers.", minimum=0),
}
_DAY = text("A day in UTC.", pattern=r"^\d{4}-\d\d-\d\d$")
_USAGE_KEY: dict[str, Schema] = {
    "day": _DAY,
    "key": text("The key's id; empty without keys."),
    "key_name": text(),
    "model": text("As the clients asked for it."),
    "served_model": text("The main name of the workers' model, as in the metrics."),
}
_USAGE = struct(
    {
        "from": _DAY,
        "to": _DAY,
        "usage": array(struct(_USAGE_KEY | _COUNTS, [*_USAGE_KEY, *_COUNTS]), maxItems=MAX_LIMIT),
        "total": struct(_COUNTS, list(_COUNTS), "Of all pages."),
        "next": text("The `after` of the next page. Absent on the last one.", minLength=1),
    },
    ["from", "to", "usage", "total"],
)


def _query(name: str, about: str, schema: Schema) -> Schema:
    return {"name": name, "in": "query", "description": about, "schema": schema}


_USAGE_PARAMETERS = (
    _query("from", "The first day. Default: 29 days before `to`.", _DAY),
    _query("to", "The last day. Default: today.", _DAY),
    _query("key", "A key's id or name.", text(maxLength=MAX_CHARACTERS)),
    _query("model", "As the clients asked for it.", text(maxLength=MAX_CHARACTERS)),
    _query("limit", "Rows of a page. Default: 1000.", integer(minimum=1, maximum=MAX_LIMIT)),
    _query("after", "The `next` of the page before.", text()),
    _query("format", "Default: JSON, or CSV where `Accept` begins with it.", text(enum=["json", "csv"])),
)


def _plain(content: str) -> dict[str, Schema]:
    return {TEXT: text(const=content)}


def _refused(operation_id: str, summary: str, error: ErrorType, *parameters: Schema) -> Schema:
    return operation(operation_id, "accounts", summary, error_responses([error]), parameters=parameters)


_READY = operation(
    "readyz",
    "server",
    "Readiness: whether a request could be served",
    ok("At least one engine worker is ready, or requests wait for a worker host.", _plain("ok")),
    {
        HTTPStatus.SERVICE_UNAVAILABLE: response(
            "No engine worker is ready, and no host will be in a moment.", _plain("no engine worker is ready")
        )
    },
)

PATHS: dict[str, Schema] = {
    "/": with_head(
        operation("root", "server", "Greeting", ok("The server is running.", _plain("Ollama is running")))
    ),
    "/healthz": with_head(
        operation("healthz", "server", "Liveness of the process", ok("The process is alive.", _plain("ok")))
    ),
    "/readyz": with_head(_READY),
    "/metrics": {
        "get": operation(
            "metrics", "server", "Metrics for Prometheus", ok("In Prometheus's text format.", {TEXT: text()})
        )
    },
    "/api/queue": {
        "get": operation(
            "queue",
            "server",
            "Position of a queued request",
            ok("The request is queued here.", {JSON: _IN_QUEUE}),
            error_responses([InvalidRequest, NotQueued]),
            parameters=[_ID],
        )
    },
    "/api/usage": {
        "get": operation(
            "usage",
            "server",
            "Requests, tokens and seconds per day, key and model",
            ok(
                "The usage of the request's key, or of all of them for an admin and without keys.",
                {JSON: _USAGE, CSV: text()},
                {"Link": {"description": 'The next page, `rel="next"`.', "schema": text()}},
            ),
            error_responses([InvalidRequest, NotPermitted, StoreUnavailable]),
            parameters=_USAGE_PARAMETERS,
        )
    },
    "/openapi.json": with_head(
        operation("openapi", "server", "This document", ok("OpenAPI 3.1.", {JSON: {"type": "object"}}))
    ),
    "/api/version": with_head(
        operation(
            "version",
            "server",
            "The version of Ollama whose API is served",
            ok(
                "For clients that compare versions.",
                {JSON: struct({"version": text(pattern=r"^\d+\.\d+\.\d+$")}, ["version"])},
            ),
        )
    ),
    "/api/status": {
        "get": operation(
            "status",
            "accounts",
            "Whether ollama.com is used",
            ok("It is not.", {JSON: struct({"cloud": _CLOUD}, ["cloud"])}),
        )
    },
    "/api/experimental/model-recommendations": {
        "get": operation(
            "recommendations",
            "accounts",
            "List recommended models",
            ok("None.", {JSON: struct({"recommendations": array({}, maxItems=0)}, ["recommendations"])}),
        )
    },
    "/api/me": {"post": _refused("me", "Get the signed-in user", NotSignedIn)},
    "/api/signout": {"post": _refused("signout", "Sign out", NotSignedIn)},
    "/api/user/keys/{key}": {
        "delete": _refused("deleteKey", "Sign out, as old clients do", NotSignedIn, _KEY)
    },
    "/api/experimental/web_search": {
        "post": _refused("webSearch", "Search the web through ollama.com", NotOffered)
    },
    "/api/experimental/web_fetch": {
        "post": _refused("webFetch", "Fetch a web page through ollama.com", NotOffered)
    },
}
