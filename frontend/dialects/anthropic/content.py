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

_TYPE: dict[str, Reader] = {"type": text}
# What is read of each kind of block. Of other kinds nothing is: they are left out, as upstream does.
_FIELDS: dict[str, dict[str, Reader]] = {
    "text": {"text": text},
    "thinking": {"thinking": text},
    "image": {"source": mapping},
    "document": {"source": mapping},
    "search_result": {"content": anything},
    "tool_use": {"id": text, "name": text, "input": mapping},
    "server_tool_use": {"id": text, "name": text, "input": mapping},
    "tool_result": {"tool_use_id": text, "content": anything},
    "web_search_tool_result": {"tool_use_id": text, "content": anything},
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


@dataclass(slots=True)
class _Said:
    """What a message says besides results of tools."""

    texts: list[str] = field(default_factory=list)
    thoughts: list[str] = field(default_factory=list)
    images: list[bytes] = field(default_factory=list)
    calls: list[ToolCall] = field(default_factory=list)

    @property
    def is_something(self) -> bool:
        return any(self.texts) or any(self.thoughts) or bool(self.images or self.calls)

    def message(self, role: str) -> Message:
        return Message(
            role=role,
            content="".join(self.texts),
            thinking="".join(self.thoughts),
            images=self.images,
            tool_calls=self.calls,
        )


def read_system(value: Json) -> str:
    """A text, or blocks of text, which are joined."""
    return "".join(
        block.text
        for block in _blocks(value, "system")
        if block.type == "text" and not block.text.startswith(_BILLING)
    )


def read_messages(value: list[Json]) -> list[Message]:
    """Raises InvalidRequest with the place of what cannot be read."""
    tools: dict[str, str] = {}
    messages: list[Message] = []
    calls = 0
    for number, each in enumerate(value):
        made = _turn(each, f"messages.{number}", tools)
        messages += made
        calls += sum(len(message.tool_calls) for message in made)
        if len(messages) + calls > _MAX_MESSAGES:
            raise InvalidRequest(
                f"messages: at most {_MAX_MESSAGES} are possible, and each tool call and result counts as one"
            )
    return messages


def _turn(value: Json, where: str, tools: dict[str, str]) -> list[Message]:
    """One of Anthropic's messages is several native ones: each result of a tool has its own. `tools`: the
    names of the tools that were called, by the call's id.
    """
    fields = read_struct(value, "MessageParam", {"role": text, "content": anything}, "anthropic.MessageParam")
    role = cast(str, fields.get("role", "")).lower()
    if role not in _ROLES:
        raise InvalidRequest(f'{where}.role: "{role}" is none of {", ".join(_ROLES)}')
    said, results = _Said(), []
    for block in _blocks(cast(Json, fields.get("content")), f"{where}.content"):
        if (result := _result(block, where, tools)) is not None:
            results.append(result)
        else:
            _add(said, block, where, tools)
    own = [said.message(role)] if said.is_something or not results else []
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
    kind = cast(str, read_struct(item, "ContentBlock", _TYPE, "anthropic.ContentBlock").get("type", ""))
    make: Callable[..., _Block] = _Block
    fields = _FIELDS.get(kind, {})
    return make(type=kind, **read_struct(item, "ContentBlock", fields, "anthropic.ContentBlock"))


def _add(said: _Said, block: _Block, where: str, tools: dict[str, str]) -> None:
    match block.type:
        case "text":
            said.texts.append(block.text)
        case "thinking":
            said.thoughts.append(block.thinking)
        case "image":
            said.images.append(_image(block, where))
        case "document":
            said.texts.append(_document(block, where))
        case "search_result":
            said.texts.append(_text_of(block.content, where))
        case "tool_use" | "server_tool_use":
            if not block.id or not block.name:
                missing = "name" if block.id else "id"
                raise InvalidRequest(f"tool_use block missing required '{missing}' field")
            tools[block.id] = block.name
            said.calls.append(ToolCall(block.name, dump_text(block.input), block.id))


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
    """Of what documents and search results consist of, which is text: neither contains another one."""
    return "".join(part.text for part in _blocks(value, where) if part.type == "text")


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
