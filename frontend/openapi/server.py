"""The routes about the server, its probes, and those about accounts."""

from __future__ import annotations

from http import HTTPStatus

from drover.errors import InvalidRequest, ModelNotFound, NotOffered, NotSignedIn
from frontend.openapi.answers import JSON, TEXT, answer, ok, operation, with_head
from frontend.openapi.refusals import Leaf, refusals
from frontend.openapi.schemas import Schema, array, boolean, integer, number, struct, text

_CLOUD = struct(
    {"disabled": boolean(), "source": text(enum=["none", "env", "config", "both"])}, ["disabled", "source"]
)
_KEY: Schema = {"name": "key", "in": "path", "required": True, "schema": text(minLength=1)}


_IN_QUEUE = struct(
    {
        "id": text(),
        "position": integer("1 for the next one.", minimum=1),
        "waiting": integer("How many wait for that model in this frontend.", minimum=1),
        "expected_wait_seconds": number("If the queue goes on as it did.", minimum=0),
    },
    ["id", "position", "waiting", "expected_wait_seconds"],
)
_ID: Schema = {
    "name": "id",
    "in": "query",
    "required": True,
    "description": "The X-Request-ID that the request was sent with.",
    "schema": text(minLength=1),
}


def _plain(words: str) -> dict[str, Schema]:
    return {TEXT: text(const=words)}


def _refused(operation_id: str, summary: str, leaf: Leaf, *parameters: Schema) -> Schema:
    return operation(operation_id, "accounts", summary, refusals([leaf]), parameters=parameters)


_READY = operation(
    "readyz",
    "server",
    "Whether a request could be served",
    ok("At least one engine worker is ready.", _plain("ok")),
    {HTTPStatus.SERVICE_UNAVAILABLE: answer("None is.", _plain("no engine worker is ready"))},
)

PATHS: dict[str, Schema] = {
    "/": with_head(operation("root", "server", "Greeting", ok("It runs.", _plain("Ollama is running")))),
    "/healthz": with_head(
        operation("healthz", "server", "Whether the process is alive", ok("It is.", _plain("ok")))
    ),
    "/readyz": with_head(_READY),
    "/metrics": {
        "get": operation(
            "metrics", "server", "Metrics for Prometheus", ok("In its text format.", {TEXT: text()})
        )
    },
    "/api/queue": {
        "get": operation(
            "queue",
            "server",
            "Where a request stands that waits for a worker",
            ok("It waits here.", {JSON: _IN_QUEUE}),
            refusals([InvalidRequest, ModelNotFound]),
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
            "The version of Ollama whose API this is",
            ok(
                "For clients that compare it.",
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
            "Models that are recommended",
            ok("None.", {JSON: struct({"recommendations": array({}, maxItems=0)}, ["recommendations"])}),
        )
    },
    "/api/me": {"post": _refused("me", "Who is signed in", NotSignedIn)},
    "/api/signout": {"post": _refused("signout", "Sign out", NotSignedIn)},
    "/api/user/keys/{key}": {
        "delete": _refused("deleteKey", "Sign out, as old clients do it", NotSignedIn, _KEY)
    },
    "/api/experimental/web_search": {"post": _refused("webSearch", "A search by ollama.com", NotOffered)},
    "/api/experimental/web_fetch": {"post": _refused("webFetch", "A page by ollama.com", NotOffered)},
}
