"""The schemas of requests agree with their readers: fields, types, defaults, limits."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import fields, is_dataclass

import pytest

from frontend.api.anthropic import blocks as anthropic_blocks
from frontend.api.anthropic import content as anthropic_content
from frontend.api.anthropic import request as anthropic_wire
from frontend.api.anthropic import tools as anthropic_tools
from frontend.api.core import request, typed_fields
from frontend.api.core.embedding import EmbeddingsRequest, EmbedRequest
from frontend.api.core.go_json import Json
from frontend.api.core.request import ChatRequest, GenerateRequest, NamedRequest, ShowRequest
from frontend.api.core.typed_fields import Reader
from frontend.api.ollama.create import CreateRequest
from frontend.api.ollama.manage import CopyRequest
from frontend.api.ollama.tokens import DetokenizeRequest, TokenizeRequest
from frontend.api.ollama.transfer import TransferRequest
from frontend.api.openai import messages as openai_messages
from frontend.api.openai import request as openai_wire
from frontend.api.openai import tokens as openai_tokens
from frontend.api.openai.embeddings import OpenAIEmbedRequest
from frontend.api.openai.extras.fields import readers_of
from frontend.api.openai.extras.table import CHAT
from frontend.api.openai.request import ChatCompletionRequest
from frontend.api.openai.responses import items as responses_items
from frontend.api.openai.responses import request as responses_wire
from frontend.api.openai.responses import tools as responses_tools
from tests.unit.frontend.openapi.documented import BASES, SCHEMAS, Struct, accepts, request_schema, validator

# Refused with a reason, whatever the type of their value.
ALWAYS_REFUSED = {
    "files", "adapters", "quantize", "quantization", "draft_files", "draft_quantize", "renderer", "parser",
    "requires", "remote_host",
}  # fmt: skip
VALUES: list[Json] = [
    None, True, False, -1, 0, 1, 20, 21, 2**32 - 1, 2**32, 2**63, 1.5, -0.5, "", "json", "5m", "1h30m", "-1s",
    "0", "10", "high", "max", "YQ==", "{{ .Prompt }}", [], [None], [True], [1], [-1], [1.5], ["YQ=="], [{}],
    [["YQ=="]], {}, {"a": None}, {"a": 1}, {"a": "b"},
]  # fmt: skip
CALL: Json = {"type": "tool_use", "id": "1", "name": "f", "input": {}}
IMAGE: Json = {"type": "image", "source": {"type": "base64", "data": "YQ=="}}
# Schemas by the Go type that the reader names in its errors. Alias is Go's name for a message.
STRUCTS = {
    "api.ChatRequest": "ChatRequest",
    "api.GenerateRequest": "GenerateRequest",
    "api.EmbedRequest": "EmbedRequest",
    "api.EmbeddingRequest": "EmbeddingsRequest",
    "api.SystemOneRequest": "SystemOneRequest",
    "api.ShowRequest": "ShowRequest",
    "api.CreateRequest": "CreateRequest",
    "api.CopyRequest": "CopyRequest",
    "api.DeleteRequest": "DeleteRequest",
    "api.PullRequest": "PullRequest",
    "api.PushRequest": "PushRequest",
    "api.TokenizeRequest": "TokenizeRequest",
    "api.DetokenizeRequest": "DetokenizeRequest",
    "api.Alias": "Message",
    "api.ToolCall": "SentToolCall",
    "api.ToolCallFunction": "SentFunctionCall",
    "api.Tool": "Tool",
    "api.ToolFunction": "ToolFunction",
    "openai.ChatCompletionRequest": "ChatCompletionRequest",
    "openai.CompletionRequest": "CompletionRequest",
    "openai.EmbedRequest": "OpenAIEmbedRequest",
    "openai.TokenizeRequest": "OpenAITokenizeRequest",
    "openai.DetokenizeRequest": "OpenAIDetokenizeRequest",
    "api.RerankRequest": "RerankRequest",
    "api.ScoreRequest": "ScoreRequest",
    "api.ClassifyRequest": "ClassifyRequest",
    "openai.Message": "OpenAIMessage",
    "openai.ToolCall": "OpenAISentToolCall",
    "openai.ResponsesRequest": "ResponsesRequest",
    "openai.ResponsesInputItem": "ResponsesItem",
    "openai.ResponsesTool": "ResponsesTool",
    "anthropic.MessagesRequest": "MessagesRequest",
    "anthropic.MessageParam": "AnthropicMessage",
    "anthropic.ContentBlock": "ContentBlock",
    "anthropic.Tool": "AnthropicTool",
    "anthropic.ToolChoice": "AnthropicToolChoice",
}
# Inline objects, whose schemas have no names.
INLINE = {"openai.StreamOptions", "struct { Name string; Arguments string }"}
MODULES_WITH_READERS = (
    request,
    openai_wire,
    openai_messages,
    openai_tokens,
    responses_wire,
    responses_items,
    responses_tools,
    anthropic_wire,
    anthropic_blocks,
    anthropic_content,
    anthropic_tools,
)


def test_the_schemas_list_the_fields_that_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: dict[str, set[str]] = {}

    def recording_read_struct(
        value: Json,
        struct: str,
        readers: Mapping[str, Reader],
        go_type: str,
        within: typed_fields.FieldPath | None = None,
    ) -> dict[str, object]:
        seen[go_type] = seen.get(go_type, set()) | set(readers)
        return typed_fields.read_struct(value, struct, readers, go_type, within)

    for module in MODULES_WITH_READERS:
        monkeypatch.setattr(module, "read_struct", recording_read_struct)
    call = {"function": {"name": "f", "arguments": {}}}
    for path, base in BASES.items():
        accepts(path, base)
    accepts("/api/chat", {"messages": [{"tool_calls": [call]}], "tools": [{"function": {"name": "f"}}]})
    messages = [{"role": "user", "content": [{"type": "text", "text": "x"}]}]
    # The fields that are read of a block depend on its type.
    kinds: list[Json] = [{"type": kind} for kind in ("text", "thinking", "tool_result", "tool_reference")]
    kinds += [{"type": "tool_removal"}, CALL, IMAGE]
    blocks = [{"role": "user", "content": kinds}]
    chosen = {"tools": [{"name": "f"}], "tool_choice": {"type": "auto"}}
    accepts("/v1/messages", {"model": "m", "max_tokens": 1, "messages": blocks, **chosen})
    items = [*messages, {"type": "additional_tools", "tools": []}]
    accepts("/v1/responses", {"model": "m", "input": items, "tools": [{"type": "function", "name": "f"}]})
    accepts("/v1/chat/completions", {"messages": [{"tool_calls": [{"function": {"name": "f"}}]}]})

    assert {name: fields for name, fields in seen.items() if name not in INLINE} == {
        name: set(SCHEMAS[schema]["properties"]) for name, schema in STRUCTS.items()
    }


# Whether it can be true depends on the messages.
DEPENDENT = {"continue_final_message"}


def _field_cases() -> Iterator[tuple[str, str, Struct]]:
    for path in BASES:
        for name, schema in request_schema(path)["properties"].items():
            if name not in ("model", "name", "source", "destination", "from", *ALWAYS_REFUSED, *DEPENDENT):
                yield path, name, schema


@pytest.mark.parametrize(("path", "field", "schema"), list(_field_cases()), ids=lambda value: str(value)[:30])
def test_a_field_accepts_the_values_of_its_schema(path: str, field: str, schema: Struct) -> None:
    valid = validator(schema)
    for value in VALUES:
        assert accepts(path, {**BASES[path], field: value}) == valid(value), (field, value)


@pytest.mark.parametrize(("name", "schema"), SCHEMAS["Options"]["properties"].items(), ids=str)
def test_an_option_accepts_the_values_of_its_schema(name: str, schema: Struct) -> None:
    valid = validator(schema)
    for value in VALUES:
        body = {**BASES["/api/chat"], "options": {name: value}}
        assert accepts("/api/chat", body) == valid(value), value


@pytest.mark.parametrize("path", BASES)
def test_unknown_fields_and_any_letter_case_are_accepted(path: str) -> None:
    base = BASES[path]
    assert accepts(path, base)
    assert accepts(path, {**{key.upper(): value for key, value in base.items()}, "unknown": [1]})
    assert validator(request_schema(path))({**base, "unknown": [1]})


@pytest.mark.parametrize(
    ("path", "field", "item"),
    [
        ("/api/chat", "messages", {}),
        ("/api/chat", "tools", {"function": {"name": "f"}}),
        ("/api/create", "messages", {}),
        ("/api/embed", "input", "x"),
        ("/v1/chat/completions", "messages", {"content": "x"}),
        ("/v1/chat/completions", "tools", {"function": {"name": "f"}}),
        ("/v1/completions", "prompt", "x"),
        ("/v1/messages", "messages", {"role": "user", "content": "x"}),
        ("/v1/messages", "tools", {"name": "f"}),
        ("/v1/responses", "input", {"role": "user", "content": "x"}),
        ("/v1/responses", "tools", {"type": "function", "name": "f"}),
        ("/v1/embeddings", "input", "x"),
        ("/v1/tokenize", "prompt", "x"),
        ("/v1/detokenize", "tokens", [1]),
        ("/v1/rerank", "documents", "x"),
        ("/v1/rerank", "texts", "x"),
        ("/v1/score", "text_2", "x"),
        ("/v1/classify", "input", "x"),
    ],
)
def test_lists_are_limited_to_max_items(path: str, field: str, item: Json) -> None:
    schema = request_schema(path)["properties"][field]
    limit = next(part["maxItems"] for part in (schema, *schema.get("anyOf", ())) if "maxItems" in part)

    assert accepts(path, {**BASES[path], field: [item] * limit})
    assert not accepts(path, {**BASES[path], field: [item] * (limit + 1)})


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
        ("TokenizeRequest", TokenizeRequest),
        ("DetokenizeRequest", DetokenizeRequest),
        ("ChatCompletionRequest", ChatCompletionRequest),
        ("OpenAIEmbedRequest", OpenAIEmbedRequest),
    ],
)
def test_the_schemas_defaults_are_the_requests_defaults(name: str, make: Callable[[], object]) -> None:
    request = make()
    assert is_dataclass(request)
    real = {field.name: getattr(request, field.name) for field in fields(request)}
    if isinstance(request, ChatCompletionRequest):
        # Their absence is described in words.
        real = {**dict.fromkeys(readers_of(CHAT)), **real}
    renamed = {"from": "origin", "_debug_render_only": "debug_render_only"}
    documented = {key: schema for key, schema in SCHEMAS[name]["properties"].items() if "default" in schema}

    assert {key: schema["default"] for key, schema in documented.items()} == {
        key: real[renamed.get(key, key)] for key in documented
    }
    without_default = SCHEMAS[name]["properties"].keys() - documented.keys()
    assert all(real[renamed.get(key, key)] in ("", [], {}, None) for key in without_default)
