"""From the items of a Responses input to the native messages."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from drover.errors import InvalidRequest
from frontend.dialects.data_urls import decoded_image
from frontend.dialects.ollama.decode import Reader, anything, read_struct, text
from frontend.dialects.ollama.go_json import Json
from frontend.dialects.ollama.wire import Message, ToolCall
from frontend.dialects.tool_calls import sent_arguments

_MAX_ITEMS = 20_000
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


@dataclass(slots=True)
class _Item:
    type: str = ""
    role: str = ""
    content: Json = None
    call_id: str = ""
    name: str = ""
    namespace: str = ""
    arguments: str = ""
    output: Json = None
    summary: Json = None
    encrypted_content: str = ""

    @property
    def full_name(self) -> str:
        return f"{self.namespace}.{self.name}" if self.namespace else self.name


@dataclass(slots=True)
class _Conversation:
    """`thoughts`: of reasoning items, for the assistant's message that comes after them. `tools`: the names
    of the functions called so far, by the call's id.
    """

    messages: list[Message] = field(default_factory=list)
    thoughts: list[str] = field(default_factory=list)
    tools: dict[str, str] = field(default_factory=dict)

    def taken_thoughts(self) -> str:
        thinking = "".join(self.thoughts)
        self.thoughts.clear()
        return thinking

    def end_turn(self) -> None:
        """An answer that was only thought of, since it was cut off, has a message of its own."""
        if thinking := self.taken_thoughts():
            self.messages.append(Message(role="assistant", thinking=thinking))


def read_input(value: Json) -> list[Message]:
    """A text, or items. Raises InvalidRequest with the place of what cannot be read."""
    if value is None or value == "":
        return []
    if isinstance(value, str):
        return [Message(role="user", content=value)]
    if not isinstance(value, list):
        raise InvalidRequest("input must be a string or array")
    if len(value) > _MAX_ITEMS:
        raise InvalidRequest(f"input: {len(value)} are too many, at most {_MAX_ITEMS} are possible")
    conversation = _Conversation()
    for number, item in enumerate(value):
        _add(conversation, _item(item), f"input[{number}]")
    conversation.end_turn()
    return conversation.messages


def _item(value: Json) -> _Item:
    make: Callable[..., _Item] = _Item
    item = make(**read_struct(value, "ResponsesInputItem", _ITEM, "openai.ResponsesInputItem"))
    if not item.type and item.role:
        item.type = "message"
    return item


def _add(conversation: _Conversation, item: _Item, where: str) -> None:
    match item.type:
        case "message":
            conversation.messages.append(_message(conversation, item, where))
        case "function_call":
            _add_call(conversation, item, where)
        case "function_call_output":
            conversation.messages.append(_result(conversation, item, where))
        case "reasoning":
            words = item.summary or item.content
            conversation.thoughts.append(item.encrypted_content or _content(words, where)[0])
        case "web_search_call":
            # What was found is in the text that follows it.
            pass
        case "item_reference":
            raise InvalidRequest(
                f"{where}: an item_reference cannot be followed, since nothing is stored here; send the "
                "items themselves, as clients do with store: false"
            )
        case "":
            raise InvalidRequest(f"{where}: input item missing required 'type' field")
        case unknown:
            raise InvalidRequest(f'{where}: unknown input item type: "{unknown}"')


def _message(conversation: _Conversation, item: _Item, where: str) -> Message:
    content, images = _content(item.content, where)
    role = item.role.lower()
    # OpenAI's later name for what every chat template calls system.
    message = Message(role="system" if role == "developer" else role, content=content, images=images)
    if role == "assistant":
        message.thinking = conversation.taken_thoughts()
    else:
        conversation.end_turn()
    return message


def _add_call(conversation: _Conversation, item: _Item, where: str) -> None:
    """Calls belong to the assistant's message before them, if it is one and what was thought since has a
    place there.
    """
    call = ToolCall(item.full_name, sent_arguments(item.arguments), item.call_id)
    conversation.tools[item.call_id] = call.name
    last = conversation.messages[-1] if conversation.messages else None
    thinking = conversation.taken_thoughts()
    if last is None or last.role != "assistant" or (thinking and last.thinking):
        last = Message(role="assistant")
        conversation.messages.append(last)
    last.tool_calls.append(call)
    last.thinking = last.thinking or thinking


def _result(conversation: _Conversation, item: _Item, where: str) -> Message:
    content, images = _content(item.output, where)
    return Message(
        role="tool",
        content=content,
        images=images,
        tool_name=conversation.tools.get(item.call_id, ""),
        tool_call_id=item.call_id,
    )


def _content(value: Json, where: str) -> tuple[str, list[bytes]]:
    """A text, or parts, of which the texts are joined."""
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
            case {"type": str(kind), "text": str(words)} if kind in _TEXTS:
                texts.append(words)
            case {"type": "refusal", "refusal": str(words)}:
                texts.append(words)
            case {"type": "input_image", "image_url": str(url)}:
                images.append(decoded_image(url))
            case {"type": "input_image" | "input_file"}:
                raise InvalidRequest(f"{where}: file inputs are not currently supported")
            case {"type": kind}:
                raise InvalidRequest(f"{where}.content[{number}]: unknown content type: {kind}")
            case _:
                raise InvalidRequest(f"{where}.content[{number}]: it must be an object with a type")
    return "".join(texts), images
