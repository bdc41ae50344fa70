"""A request's schema and its reader say the same: fields, kinds, defaults, limits."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import fields, is_dataclass

import pytest

from frontend.dialects.ollama import decode, wire
from frontend.dialects.ollama.decode import Reader
from frontend.dialects.ollama.embed_wire import EmbeddingsRequest, EmbedRequest
from frontend.dialects.ollama.go_json import Json
from frontend.dialects.ollama.manage_wire import CopyRequest, CreateRequest, TransferRequest
from frontend.dialects.ollama.wire import ChatRequest, GenerateRequest, NamedRequest, ShowRequest
from tests.unit.frontend.openapi.told import BASES, SCHEMAS, Struct, accepts, request_schema, validator

# Refused by the route, whatever the kind of their value: with the reason why.
REFUSED_AS_SUCH = {"files", "adapters", "quantize", "quantization"}
VALUES: list[Json] = [
    None, True, False, -1, 0, 1, 20, 21, 2**32 - 1, 2**32, 2**63, 1.5, -0.5, "", "json", "5m", "1h30m", "-1s",
    "0", "10", "high", "max", "YQ==", "{{ .Prompt }}", [], [None], [True], [1], [-1], [1.5], ["YQ=="], [{}],
    [["YQ=="]], {}, {"a": None}, {"a": 1}, {"a": "b"},
]  # fmt: skip
# By the names of Go's structs, which readers use: Alias is Message.
STRUCTS = {
    "ChatRequest": "ChatRequest",
    "GenerateRequest": "GenerateRequest",
    "EmbedRequest": "EmbedRequest",
    "EmbeddingRequest": "EmbeddingsRequest",
    "ShowRequest": "ShowRequest",
    "CreateRequest": "CreateRequest",
    "CopyRequest": "CopyRequest",
    "DeleteRequest": "DeleteRequest",
    "PullRequest": "PullRequest",
    "PushRequest": "PushRequest",
    "Alias": "Message",
    "ToolCall": "SentToolCall",
    "ToolCallFunction": "SentFunctionCall",
    "Tool": "Tool",
    "ToolFunction": "ToolFunction",
}


def test_the_fields_are_those_that_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: dict[str, set[str]] = {}

    def watched(value: Json, struct: str, readers: Mapping[str, Reader], go_type: str) -> dict[str, object]:
        seen[struct] = set(readers)
        return decode.read_struct(value, struct, readers, go_type)

    monkeypatch.setattr(wire, "read_struct", watched)
    call = {"function": {"name": "f", "arguments": {}}}
    for path, base in BASES.items():
        accepts(path, base)
    accepts("/api/chat", {"messages": [{"tool_calls": [call]}], "tools": [{"function": {"name": "f"}}]})

    assert seen == {struct: set(SCHEMAS[name]["properties"]) for struct, name in STRUCTS.items()}


def _field_cases() -> Iterator[tuple[str, str, Struct]]:
    for path in BASES:
        for name, schema in request_schema(path)["properties"].items():
            if name not in ("model", "name", "source", "destination", "from", *REFUSED_AS_SUCH):
                yield path, name, schema


@pytest.mark.parametrize(("path", "field", "schema"), list(_field_cases()), ids=lambda value: str(value)[:30])
def test_a_field_takes_what_its_schema_says(path: str, field: str, schema: Struct) -> None:
    valid = validator(schema)
    for value in VALUES:
        assert accepts(path, {**BASES[path], field: value}) == valid(value), (field, value)


@pytest.mark.parametrize(("name", "schema"), SCHEMAS["Options"]["properties"].items(), ids=str)
def test_an_option_takes_what_its_schema_says(name: str, schema: Struct) -> None:
    valid = validator(schema)
    for value in VALUES:
        body = {**BASES["/api/chat"], "options": {name: value}}
        assert accepts("/api/chat", body) == valid(value), value


@pytest.mark.parametrize("path", BASES)
def test_unknown_fields_and_other_letter_case_are_taken(path: str) -> None:
    base = BASES[path]
    assert accepts(path, base)
    assert accepts(path, {**{key.upper(): value for key, value in base.items()}, "unknown": [1]})
    assert validator(request_schema(path))({**base, "unknown": [1]})


@pytest.mark.parametrize(
    ("path", "field", "item"),
    [
        ("/api/chat", "messages", {}),
        ("/api/chat", "tools", {}),
        ("/api/create", "messages", {}),
        ("/api/embed", "input", "x"),
    ],
)
def test_lists_are_as_long_as_it_says(path: str, field: str, item: Json) -> None:
    schema = request_schema(path)["properties"][field]
    most = next(part["maxItems"] for part in (schema, *schema.get("anyOf", ())) if "maxItems" in part)

    assert accepts(path, {**BASES[path], field: [item] * most})
    assert not accepts(path, {**BASES[path], field: [item] * (most + 1)})


@pytest.mark.parametrize(
    ("name", "make"),
    [
        ("ChatRequest", ChatRequest),
        ("GenerateRequest", GenerateRequest),
        ("ShowRequest", ShowRequest),
        ("EmbedRequest", EmbedRequest),
        ("EmbeddingsRequest", EmbeddingsRequest),
        ("CreateRequest", CreateRequest),
        ("CopyRequest", CopyRequest),
        ("DeleteRequest", NamedRequest),
        ("PullRequest", TransferRequest),
        ("PushRequest", TransferRequest),
    ],
)
def test_defaults_are_those_of_the_requests(name: str, make: Callable[[], object]) -> None:
    request = make()
    assert is_dataclass(request)
    real = {field.name: getattr(request, field.name) for field in fields(request)}
    renamed = {"from": "origin", "_debug_render_only": "debug_render_only"}
    told = {key: schema for key, schema in SCHEMAS[name]["properties"].items() if "default" in schema}

    assert {key: schema["default"] for key, schema in told.items()} == {
        key: real[renamed.get(key, key)] for key in told
    }
    silent = SCHEMAS[name]["properties"].keys() - told.keys()
    assert all(real[renamed.get(key, key)] in ("", [], {}, None) for key in silent)
