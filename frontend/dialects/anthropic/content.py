"""From Anthropic's content blocks to the native messages."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import cast

from drover.errors import InvalidRequest
from frontend.dialects.ollama.decode import Place, Reader, anything, mapping, read_struct, text
from frontend.dialects.ollama.go_json import Json, dump_text
from frontend.dialects.ollama.wire import Message, ToolCall

_MAX_MESSAGES = 20_000
_ROLES = ("user", "assistant", "system")
# Claude Code puts a line with a number that changes each time before its system prompt. It is meant for a
# bill, and no prefix of a prompt that begins with it is ever found in a cache.
_BILLING = "x-anthropic-billing-header:"

_BLOCK: dict[str, Reader] = {
    "type": text,
    "text": text,
    "thinking": text,
    "source": mapping,
    "id": text,
    "name": text,
    "input": mapping,
    "tool_use_id": text,
    "content": anything,
}


@dataclass(slots=True)
class _Block:
    type: str = ""
    text: str = ""
    thinking: str = ""
    source: dict[str, Json] | None = None
    id: str = ""
    name: str = ""
    input: dict[str, Json] = field(default_factory=dict)
    tool_use_id: str = ""
    content: Json = None


def read_system(value: Json) -> str:
    """A text, or blocks of text, which are joined."""
    return "".join(
        block.text
        for block in _blocks(value, "system")
        if block.type == "text" and not block.text.startswith(_BILLING)
    )


def read_messages(value: list[Json]) -> list[Message]:
    """Raises InvalidRequest with the place of what cannot be read."""
    if len(value) > _MAX_MESSAGES:
        raise InvalidRequest(f"messages: {len(value)} are too many, at most {_MAX_MESSAGES} are possible")
    tools: dict[str, str] = {}
    return [
        message for number, each in enumerate(value) for message in _turn(each, f"messages.{number}", tools)
    ]


def _turn(value: Json, where: str, tools: dict[str, str]) -> list[Message]:
    """One of Anthropic's messages is several native ones: each result of a tool has its own. `tools`: the
    names of the tools that were called, by the call's id.
    """
    fields = read_struct(value, "MessageParam", {"role": text, "content": anything}, "anthropic.MessageParam")
    role = cast(str, fields.get("role", "")).lower()
    if role not in _ROLES:
        raise InvalidRequest(f'{where}.role: "{role}" is none of {", ".join(_ROLES)}')
    said, results = Message(role=role), []
    for block in _blocks(cast(Json, fields.get("content")), f"{where}.content"):
        if (result := _result(block, where, tools)) is not None:
            results.append(result)
        else:
            _add(said, block, where, tools)
    is_something = bool(said.content or said.thinking or said.images or said.tool_calls)
    own = [said] if is_something or not results else []
    return [*results, *own] if role == "user" else [*own, *results]


def _blocks(value: Json, where: str) -> Iterator[_Block]:
    if value is None:
        return
    if isinstance(value, str):
        yield _Block(type="text", text=value)
        return
    if not isinstance(value, list):
        raise InvalidRequest(f"{where}: it must be a text or a list of blocks")
    for number, item in enumerate(value):
        if not isinstance(item, dict):
            raise InvalidRequest(f"{where}.{number}: a block must be an object")
        yield _block(item)


def _block(item: dict[str, Json]) -> _Block:
    make: Callable[..., _Block] = _Block
    return make(**read_struct(item, "ContentBlock", _BLOCK, "anthropic.ContentBlock"))


def _add(said: Message, block: _Block, where: str, tools: dict[str, str]) -> None:
    """Blocks of a kind that is not known here are left out, as upstream does."""
    match block.type:
        case "text":
            said.content += block.text
        case "thinking":
            said.thinking += block.thinking
        case "image":
            said.images.append(_image(block, where))
        case "document":
            said.content += _document(block, where)
        case "search_result":
            said.content += _text_of(block.content, where)
        case "tool_use" | "server_tool_use":
            if not block.id or not block.name:
                missing = "name" if block.id else "id"
                raise InvalidRequest(f"tool_use block missing required '{missing}' field")
            tools[block.id] = block.name
            said.tool_calls.append(ToolCall(block.name, dump_text(block.input), block.id))


def _result(block: _Block, where: str, tools: dict[str, str]) -> Message | None:
    """None for a block that is no result of a tool."""
    match block.type:
        case "tool_result":
            parts = list(_blocks(block.content, f"{where}.content"))
        case "web_search_tool_result":
            parts = [_Block(type="text", text=_found(block.content))]
        case _:
            return None
    return Message(
        role="tool",
        content="".join(_readable(part, where) for part in parts),
        images=[_image(part, where) for part in parts if part.type == "image"],
        tool_name=tools.get(block.tool_use_id, ""),
        tool_call_id=block.tool_use_id,
    )


def _text_of(value: Json, where: str) -> str:
    return "".join(_readable(part, where) for part in _blocks(value, where))


def _readable(part: _Block, where: str) -> str:
    match part.type:
        case "text":
            return part.text
        case "document":
            return _document(part, where)
        case "search_result":
            return _text_of(part.content, where)
        case _:
            return ""


def _found(value: Json) -> str:
    """Results of a search of Anthropic's, which a conversation may bring from there."""
    if isinstance(value, dict):
        return f"{value.get('type', '')}: {value.get('error_code', '')}"
    items: Sequence[Json] = value if isinstance(value, list) else ()
    return "".join(
        f"- {item.get('title', '')}: {item.get('url', '')}\n" for item in items if isinstance(item, dict)
    )


def _document(block: _Block, where: str) -> str:
    source = block.source or {}
    match source.get("type"):
        case "text":
            return text(source.get("data"), Place("DocumentSource", "data"))
        case "content":
            return _text_of(source.get("content"), where)
        case other:
            raise InvalidRequest(f"{where}: invalid document source type: {other}. Only text is supported.")


def _image(block: _Block, where: str) -> bytes:
    if block.source is None:
        raise InvalidRequest("invalid image source")
    kind = block.source.get("type")
    if kind != "base64":
        raise InvalidRequest(f"invalid image source type: {kind}. Only base64 images are supported.")
    data = text(block.source.get("data"), Place("ImageSource", "data"))
    try:
        return base64.b64decode("".join(data.split()), validate=True)
    except (binascii.Error, ValueError) as error:
        raise InvalidRequest(f"{where}: invalid base64 image data: {error}") from error
