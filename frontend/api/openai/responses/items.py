"""The items of a Responses input to neutral messages."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from drover.errors import InvalidRequest
from frontend.api.core.go_json import Json, dump_text
from frontend.api.core.images import decoded_image
from frontend.api.core.request import MAX_MESSAGES, Message, ToolCall, check_count
from frontend.api.core.typed_fields import FieldPath, Reader, anything, read_struct, text
from frontend.api.openai.responses import compaction
from frontend.api.openai.responses.custom_input import arguments_of
from frontend.api.openai.responses.tools import SEARCH, Tools, name_for_model
from frontend.api.tool_calls import sent_arguments

_TEXTS = ("input_text", "output_text", "text", "summary_text", "reasoning_text")

_ITEM: dict[str, Reader] = {
    "type": text,
    "role": text,
    "content": anything,
    "call_id": text,
    "name": text,
    "namespace": text,
    "arguments": text,
    "output": anything,
    "summary": anything,
    "encrypted_content": text,
}


def _text_if_any(value: Json, path: FieldPath) -> str:
    """A text; empty for a value of another type."""
    return value if isinstance(value, str) else ""


# Of items that bring tools, or that call tools other than functions.
_TOOL_ITEM: dict[str, Reader] = {
    "type": text,
    "role": text,
    "call_id": _text_if_any,
    "name": _text_if_any,
    "namespace": _text_if_any,
    "arguments": anything,
    "input": anything,
    "tools": anything,
}
_TYPE: dict[str, Reader] = {"type": text}
_OTHER: dict[str, Reader] = {"type": text, "role": text}
_KINDS = (
    "",
    "message",
    "function_call",
    "function_call_output",
    "custom_tool_call_output",
    "reasoning",
    "web_search_call",
    *compaction.KINDS,
)
_TOOL_KINDS = ("additional_tools", "custom_tool_call", "tool_search_call", "tool_search_output")
# Fields left out of an item that is kept as text: they mean nothing to a model.
_OMITTED = (
    "type",
    "id",
    "call_id",
    "status",
    "role",
    "encrypted_content",
    "internal_chat_message_metadata_passthrough",
)
# Files and images in base64: as text they would fill a model's context.
_DATA = re.compile(r"[A-Za-z0-9+/=_-]{2000,}")
_ROLES = ("user", "assistant", "system", "developer")


@dataclass(slots=True)
class _Item:
    type: str = ""
    role: str = ""
    content: Json = None
    call_id: str = ""
    name: str = ""
    namespace: str = ""
    arguments: Json = ""
    input: Json = None
    tools: Json = None
    output: Json = None
    summary: Json = None
    encrypted_content: str = ""
    whole: dict[str, Json] = field(default_factory=dict)

    @property
    def name_for_model(self) -> str:
        return name_for_model(self.namespace, self.name)


@dataclass(slots=True)
class _Conversation:
    """The messages read so far.

    `tools`: the request's, to which items add. `thoughts`: texts of reasoning items, for the assistant's
    message after them. `called`: names of the called functions, by the call's id. `ignored`: types of items
    that are kept as text. `added`: texts of such items for the end of a message, by its number.
    """

    tools: Tools
    messages: list[Message] = field(default_factory=list)
    thoughts: list[str] = field(default_factory=list)
    called: dict[str, str] = field(default_factory=dict)
    ignored: list[str] = field(default_factory=list)
    added: dict[int, list[str]] = field(default_factory=dict)

    def take_thoughts(self) -> str:
        """Return the thoughts and clear them."""
        thinking = "".join(self.thoughts)
        self.thoughts.clear()
        return thinking

    def end_turn(self) -> None:
        """Give thoughts without an answer, which was cut off, a message of their own."""
        if thinking := self.take_thoughts():
            self.messages.append(Message(role="assistant", thinking=thinking))

    def finish(self) -> None:
        """Each message gets its added texts at once: one by one, thousands of them would take seconds."""
        self.end_turn()
        for number, texts in self.added.items():
            message = self.messages[number]
            message.content = "\n\n".join(filter(None, (message.content, *texts)))


def read_input(value: Json, tools: Tools) -> tuple[list[Message], list[str]]:
    """The messages of a text or of items, and the types of those that are kept as text. Adds the tools that
    items bring to `tools`.

    Raises InvalidRequest, which names the place of the fault.
    """
    if value is None or value == "":
        return [], []
    if isinstance(value, str):
        return [Message(role="user", content=value)], []
    if not isinstance(value, list):
        raise InvalidRequest("input must be a string or array")
    check_count("input", len(value), MAX_MESSAGES)
    conversation = _Conversation(tools)
    for number, item in enumerate(value):
        _add(conversation, _item(item), f"input[{number}]")
    conversation.finish()
    return conversation.messages, conversation.ignored


def _item(value: Json) -> _Item:
    make: Callable[..., _Item] = _Item
    kind = read_struct(value, "ResponsesInputItem", _TYPE, "openai.ResponsesInputItem").get("type", "")
    # Other types have fields with the same names and other types.
    readers = _ITEM if kind in _KINDS else _TOOL_ITEM if kind in _TOOL_KINDS else _OTHER
    item = make(**read_struct(value, "ResponsesInputItem", readers, "openai.ResponsesInputItem"))
    if not item.type and item.role:
        item.type = "message"
    item.whole = value if isinstance(value, dict) else {}
    return item


def _add(conversation: _Conversation, item: _Item, where: str) -> None:
    match item.type:
        case "message":
            conversation.messages.append(_message(conversation, item, where))
        case "function_call" if isinstance(item.arguments, str):
            _add_call(conversation, item, item.name_for_model, sent_arguments(item.arguments))
        case "custom_tool_call" if item.name and isinstance(item.input, str):
            _add_call(conversation, item, item.name_for_model, arguments_of(item.input))
        case "tool_search_call" if isinstance(item.arguments, dict):
            _add_call(conversation, item, SEARCH, dump_text(item.arguments))
        case "additional_tools":
            conversation.tools.add(item.tools)
        case "tool_search_output":
            _add_found_tools(conversation, item)
        case "function_call_output" | "custom_tool_call_output":
            conversation.messages.append(_result(conversation, item, where))
        case "reasoning":
            parts = item.summary or item.content
            conversation.thoughts.append(
                item.encrypted_content or _content(parts, where, conversation.ignored)[0]
            )
        case "web_search_call":
            # The results are in the text that follows.
            pass
        case "item_reference":
            raise InvalidRequest(
                f"{where}: an item_reference cannot be followed, since nothing is stored here; send the "
                "items themselves, as clients do with store: false"
            )
        case kind if kind in compaction.KINDS:
            conversation.end_turn()
            conversation.messages += compaction.Compaction.read(item.encrypted_content, where).messages()
        case compaction.TRIGGER:
            raise compaction.misplaced_trigger(where)
        case "":
            raise InvalidRequest(f"{where}: input item missing required 'type' field")
        case _:
            _add_as_text(conversation, item)


def _add_as_text(conversation: _Conversation, item: _Item) -> None:
    """Keep an item of an unknown type as text: a call as the assistant's, its output as the user's."""
    conversation.ignored.append(item.type)
    values = {name: value for name, value in item.whole.items() if name not in _OMITTED and value}
    if not values:
        return
    text = f"[{item.type}]\n{_without_data(values)}"
    sent = item.role.lower()
    role = sent if sent in _ROLES else "assistant" if item.type.endswith("_call") else "user"
    if role != "assistant":
        conversation.end_turn()
    last = conversation.messages[-1] if conversation.messages else None
    if role == "assistant" and last is not None and last.role == "assistant":
        conversation.added.setdefault(len(conversation.messages) - 1, []).append(text)
    else:
        thinking = conversation.take_thoughts()
        conversation.messages.append(Message(role=_native_role(role), content=text, thinking=thinking))


def _without_data(values: Mapping[str, Json]) -> str:
    """An item's text with a mark in place of files and images."""
    return _DATA.sub("[data]", _item_text(values))


def _item_text(values: Mapping[str, Json]) -> str:
    """An item's only text, after its name; all fields as JSON if it has others."""
    rest = {name: value for name, value in values.items() if name not in ("name", "namespace")}
    value = next(iter(rest.values())) if len(rest) == 1 else None
    if isinstance(value, list) and all(isinstance(part, dict) and "text" in part for part in value):
        value = "".join(str(part["text"]) for part in value if isinstance(part, dict))
    if not isinstance(value, str):
        return dump_text(values)
    name = values.get("name")
    return f"{name}: {value}" if isinstance(name, str) else value


def _native_role(role: str) -> str:
    """The role; `developer` is OpenAI's later name of what chat templates call system."""
    return "system" if role == "developer" else role


def _message(conversation: _Conversation, item: _Item, where: str) -> Message:
    content, images = _content(item.content, where, conversation.ignored)
    role = item.role.lower()
    message = Message(role=_native_role(role), content=content, images=images)
    if role == "assistant":
        message.thinking = conversation.take_thoughts()
    else:
        conversation.end_turn()
    return message


def _add_call(conversation: _Conversation, item: _Item, name: str, arguments_json: str) -> None:
    """Add the call to the assistant's message before it, or to a new one.

    A new one if the last message is another role's, or both it and the thoughts since have thinking.
    """
    conversation.called[item.call_id] = name
    last = conversation.messages[-1] if conversation.messages else None
    thinking = conversation.take_thoughts()
    if last is None or last.role != "assistant" or (thinking and last.thinking):
        last = Message(role="assistant")
        conversation.messages.append(last)
    last.tool_calls.append(ToolCall(name, arguments_json, item.call_id))
    last.thinking = last.thinking or thinking


def _add_found_tools(conversation: _Conversation, item: _Item) -> None:
    """What a tool search found: the result of its call, and tools that may be called from now on."""
    text = conversation.tools.load(item.tools)
    name = conversation.called.get(item.call_id, SEARCH)
    conversation.messages.append(
        Message(role="tool", content=text, tool_name=name, tool_call_id=item.call_id)
    )


def _result(conversation: _Conversation, item: _Item, where: str) -> Message:
    content, images = _content(item.output, where, conversation.ignored)
    return Message(
        role="tool",
        content=content,
        images=images,
        tool_name=conversation.called.get(item.call_id, ""),
        tool_call_id=item.call_id,
    )


def _content(value: Json, where: str, ignored: list[str]) -> tuple[str, list[bytes]]:
    """The concatenated texts and the images of a text or of parts.

    Parts of unknown types are kept as text, and their types added to `ignored`.
    """
    if value is None:
        return "", []
    if isinstance(value, str):
        return value, []
    if not isinstance(value, list):
        raise InvalidRequest(f"{where}: content must be a string or array")
    texts: list[str] = []
    images: list[bytes] = []
    for number, part in enumerate(value):
        match part:
            case {"type": str(kind), "text": str(part_text)} if kind in _TEXTS:
                texts.append(part_text)
            case {"type": "refusal", "refusal": str(part_text)}:
                texts.append(part_text)
            case {"type": "input_image", "image_url": str(url)}:
                images.append(decoded_image(url))
            case {"type": "input_image" | "input_file"}:
                raise InvalidRequest(f"{where}: file inputs are not currently supported")
            case {"type": str(kind)}:
                values = _without_type(part)
                ignored.append(f"content.{kind}")
                texts.append(f"[{kind}]\n{_without_data(values)}\n" if values else "")
            case _:
                raise InvalidRequest(f"{where}.content[{number}]: it must be an object with a type")
    return "".join(texts), images


def _without_type(part: Json) -> dict[str, Json]:
    return {name: value for name, value in part.items() if name != "type"} if isinstance(part, dict) else {}
