"""Routes of the server itself, its probes, and of accounts."""

from __future__ import annotations

from http import HTTPStatus

from drover.errors import InvalidRequest, NotOffered, NotQueued, NotSignedIn
from frontend.openapi.operations import (
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

_CLOUD = struct(
    {"disabled": boolean(), "source": text(enum=["none", "env", "config", "both"])}, ["disabled", "source"]
)
_KEY: Schema = {"name": "key", "in": "path", "required": True, "schema": text(minLength=1)}


_IN_QUEUE = struct(
    {
        "id": text(),
        "position": integer("1 is the next one.", minimum=1),
        "waiting": integer("Number of requests queued for that model in this frontend.", minimum=1),
        "expected_wait_seconds": number("Extrapolated from the queue's recent progress.", minimum=0),
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


def _plain(content: str) -> dict[str, Schema]:
    return {TEXT: text(const=content)}


def _refused(operation_id: str, summary: str, error: ErrorType, *parameters: Schema) -> Schema:
    return operation(operation_id, "accounts", summary, error_responses([error]), parameters=parameters)


_READY = operation(
    "readyz",
    "server",
    "Readiness: whether a request could be served",
    ok("At least one engine worker is ready.", _plain("ok")),
    {
        HTTPStatus.SERVICE_UNAVAILABLE: response(
            "No engine worker is ready.", _plain("no engine worker is ready")
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
