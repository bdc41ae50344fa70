"""The built document, and a check whether a route accepts a body."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

import jsonschema_rs

from drover.errors import DroverError
from drover.json_value import Json
from frontend.openapi.document import build
from tests.fuzz.targets import ROUTES

Struct = dict[str, Any]
DOCUMENT: Struct = json.loads(json.dumps(build("0.40.12")))
SCHEMAS: Struct = DOCUMENT["components"]["schemas"]
OPERATIONS = [
    (path, method, operation)
    for path, item in DOCUMENT["paths"].items()
    for method, operation in item.items()
]
# Each of what is required under two names, so that either may be null.
_RERANK: Struct = {"model": "m", "query": "hi", "documents": ["there"], "texts": ["there"]}
_SCORE: Struct = {
    "model": "m", "text_1": "hi", "queries": "hi", "text_2": "there", "documents": "there", "query": "hi",
    "items": "there",
}  # fmt: skip
# A valid body for each route, to which a test adds one field.
BASES: Mapping[str, Struct] = {
    "/api/chat": {"model": "m", "messages": [{"role": "user", "content": "hi"}]},
    "/api/generate": {"model": "m", "prompt": "hi"},
    "/api/embed": {"model": "m", "input": "hi"},
    "/api/embeddings": {"model": "m", "prompt": "hi"},
    "/api/show": {"model": "m"},
    "/api/create": {"model": "m", "from": "able"},
    "/api/copy": {"source": "able", "destination": "m"},
    "/api/delete": {"model": "m"},
    "/api/pull": {"model": "m"},
    "/api/push": {"model": "m"},
    "/api/tokenize": {"model": "m", "content": "hi"},
    "/api/detokenize": {"model": "m", "tokens": [1]},
    "/v1/chat/completions": {"model": "m", "messages": [{"role": "user", "content": "hi"}]},
    "/v1/completions": {"model": "m", "prompt": "hi"},
    "/v1/embeddings": {"model": "m", "input": "hi"},
    "/v1/tokenize": {"model": "m", "prompt": "hi"},
    "/v1/detokenize": {"model": "m", "tokens": [1]},
    "/rerank": _RERANK,
    "/v1/rerank": _RERANK,
    "/v2/rerank": _RERANK,
    "/score": _SCORE,
    "/v1/score": _SCORE,
    "/classify": {"model": "m", "input": "hi"},
    "/v1/classify": {"model": "m", "input": "hi"},
    "/v1/responses": {"model": "m", "input": "hi"},
    "/v1/responses/compact": {"model": "m", "input": "hi"},
    "/v1/responses/input_tokens": {"model": "m", "input": "hi"},
    "/v1/systemone": {
        "model": "m",
        "state": "hi",
        "questions": {"a": {"type": "noul", "instructions": "Is it so?"}},
    },
    "/v1/decisions": {
        "model": "m",
        "input": "hi",
        "questions": [{"type": "predicate", "instructions": "Is it so?"}],
    },
    "/v1/messages": {"model": "m", "max_tokens": 5, "messages": [{"role": "user", "content": "hi"}]},
    "/v1/messages/count_tokens": {"model": "m", "messages": [{"role": "user", "content": "hi"}]},
}


def request_schema(path: str) -> Struct:
    operation = next(operation for each, _, operation in OPERATIONS if each == path)
    reference: str = operation["requestBody"]["content"]["application/json"]["schema"]["$ref"]
    schema = SCHEMAS[reference.rpartition("/")[2]]
    assert isinstance(schema, dict)
    return schema


def validator(schema: Struct) -> Callable[[Json], bool]:
    return jsonschema_rs.validator_for({**schema, "components": DOCUMENT["components"]}).is_valid


def accepts(path: str, body: Struct) -> bool:
    """Whether the route's reader accepts the body."""
    try:
        ROUTES[path](json.dumps(body).encode())
    except DroverError:
        return False
    return True
