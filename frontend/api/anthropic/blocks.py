"""Anthropic's content blocks, with the fields that are read of each type."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import cast

from drover.errors import InvalidRequest
from frontend.api.core.go_json import Json
from frontend.api.core.typed_fields import FieldPath, Reader, anything, boolean, mapping, read_struct, text

CALLS = ("tool_use", "server_tool_use", "mcp_tool_use")
# Results of tools that clients run, then of tools that Anthropic's servers run.
RESULTS = (
    "tool_result",
    "mcp_tool_result",
    "web_search_tool_result",
    "web_fetch_tool_result",
    "code_execution_tool_result",
    "bash_code_execution_tool_result",
    "text_editor_code_execution_tool_result",
    "tool_search_tool_result",
    "advisor_tool_result",
)
# Types that only the model that generated them can read.
SKIPPED = ("redacted_thinking", "fallback")
# Sources of documents that Anthropic's API reads and this server does not.
UNREADABLE_SOURCES = ("base64", "url", "file")

_TYPE: dict[str, Reader] = {"type": text}
_CALL: dict[str, Reader] = {"id": text, "name": text, "input": anything}
_RESULT: dict[str, Reader] = {"tool_use_id": text, "content": anything, "is_error": boolean}
FIELDS: dict[str, dict[str, Reader]] = {
    "text": {"text": text},
    "thinking": {"thinking": text},
    "image": {"source": mapping},
    "document": {"source": mapping},
    "search_result": {"content": anything},
    "tool_reference": {"tool_name": text},
    "tool_addition": {"tool": mapping},
    "tool_removal": {"tool": mapping},
    "compaction": {"content": anything},
    **dict.fromkeys(CALLS, _CALL),
    **dict.fromkeys(RESULTS, _RESULT),
}


@dataclass(slots=True)
class ContentBlock:
    """A content block with the fields of every type; those of other types are empty."""

    type: str = ""
    text: str = ""
    thinking: str = ""
    source: dict[str, Json] | None = None
    id: str = ""
    name: str = ""
    input: Json = None
    tool_use_id: str = ""
    tool_name: str = ""
    tool: dict[str, Json] = field(default_factory=dict)
    content: Json = None
    is_error: bool = False


def blocks_of(value: Json, where: str) -> Iterator[ContentBlock]:
    """The blocks of a content; a text is one text block. Raises InvalidRequest for any other value."""
    if value is None:
        return
    if isinstance(value, str):
        yield ContentBlock(type="text", text=value)
        return
    if not isinstance(value, list):
        raise InvalidRequest(f"{where}: it must be a text or a list of blocks")
    for number, item in enumerate(value):
        if not isinstance(item, dict):
            raise InvalidRequest(f"{where}.{number}: a block must be an object")
        yield _block(item)


def _block(item: dict[str, Json]) -> ContentBlock:
    kind = cast(str, read_struct(item, "ContentBlock", _TYPE, "anthropic.ContentBlock").get("type", ""))
    make: Callable[..., ContentBlock] = ContentBlock
    fields = FIELDS.get(kind, {})
    return make(type=kind, **read_struct(item, "ContentBlock", fields, "anthropic.ContentBlock"))


def text_of(value: Json, where: str) -> str:
    """The text of a document's or search result's content, which has no nested documents."""
    return "".join(part.text for part in blocks_of(value, where) if part.type == "text")


def document_text(block: ContentBlock, where: str) -> str:
    """The text of a document block. Raises InvalidRequest for another source than text."""
    source = block.source or {}
    match source.get("type"):
        case "text":
            return text(source.get("data"), FieldPath("DocumentSource", "data"))
        case "content":
            return text_of(source.get("content"), where)
        case other:
            raise InvalidRequest(f"{where}: invalid document source type: {other}. Only text is supported.")


def image_bytes(block: ContentBlock, where: str) -> bytes:
    """The bytes of an image block. Raises InvalidRequest for another source than base64."""
    if block.source is None:
        raise InvalidRequest("invalid image source")
    kind = block.source.get("type")
    if kind != "base64":
        raise InvalidRequest(f"invalid image source type: {kind}. Only base64 images are supported.")
    data = text(block.source.get("data"), FieldPath("ImageSource", "data"))
    try:
        return base64.b64decode("".join(data.split()), validate=True)
    except (binascii.Error, ValueError) as error:
        raise InvalidRequest(f"{where}: invalid base64 image data: {error}") from error
