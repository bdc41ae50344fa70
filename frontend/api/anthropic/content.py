"""Anthropic's messages to neutral ones."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import cast

from drover.errors import InvalidRequest
from frontend.api.anthropic.blocks import (
    CALLS,
    RESULTS,
    SKIPPED,
    ContentBlock,
    blocks_of,
    document_text,
    image_bytes,
    text_of,
)
from frontend.api.anthropic.results import result_of
from frontend.api.anthropic.tools import DeferrableTools, read_tool
from frontend.api.core.go_json import Json, dump_text
from frontend.api.core.request import MAX_MESSAGES, Message, ToolCall
from frontend.api.core.typed_fields import anything, read_struct, text

_ROLES = ("user", "assistant", "system")
# Claude Code puts a billing line with a changing number before its system prompt. With it no prefix of the
# prompt would ever be in the prefix cache.
_BILLING = "x-anthropic-billing-header:"


@dataclass(slots=True)
class _OwnParts:
    """The parts of a message, except results of tools."""

    texts: list[str] = field(default_factory=list)
    thoughts: list[str] = field(default_factory=list)
    images: list[bytes] = field(default_factory=list)
    calls: list[ToolCall] = field(default_factory=list)

    @property
    def has_parts(self) -> bool:
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
    """The system message: a text, or text blocks, which are concatenated."""
    return "".join(
        block.text
        for block in blocks_of(value, "system")
        if block.type == "text" and not block.text.startswith(_BILLING)
    )


@dataclass(slots=True)
class Conversation:
    """Reader of a conversation's messages, in their order.

    `tools`: the request's tools, which messages may load. `ignored`: collects the types of skipped blocks.
    """

    tools: DeferrableTools
    ignored: list[str] = field(default_factory=list)
    # Names of the called tools, by the call's id.
    _names: dict[str, str] = field(default_factory=dict)

    def read(self, value: list[Json]) -> list[Message]:
        """The neutral messages. Raises InvalidRequest, which names the place of the fault."""
        messages: list[Message] = []
        calls = 0
        for number, each in enumerate(value):
            read = self._turn(each, f"messages.{number}")
            messages += read
            calls += sum(len(message.tool_calls) for message in read)
            if len(messages) + calls > MAX_MESSAGES:
                raise InvalidRequest(
                    f"messages: at most {MAX_MESSAGES} are possible, and each tool call and result counts "
                    "as one"
                )
        return messages

    def _turn(self, value: Json, where: str) -> list[Message]:
        """One of Anthropic's messages as neutral ones: each tool result becomes a message of its own."""
        readers = {"role": text, "content": anything}
        fields = read_struct(value, "MessageParam", readers, "anthropic.MessageParam")
        role = cast(str, fields.get("role", "")).lower()
        if role not in _ROLES:
            raise InvalidRequest(f'{where}.role: "{role}" is none of {", ".join(_ROLES)}')
        own, results = _OwnParts(), []
        for block in blocks_of(cast(Json, fields.get("content")), f"{where}.content"):
            if block.type in RESULTS:
                results.append(self._result(block, where))
            else:
                self._add(own, block, where)
        messages = [own.message(role)] if own.has_parts or not results else []
        return [*results, *messages] if role == "user" else [*messages, *results]

    def _add(self, own: _OwnParts, block: ContentBlock, where: str) -> None:
        match block.type:
            case "text":
                own.texts.append(block.text)
            case "thinking":
                own.thoughts.append(block.thinking)
            case "image":
                own.images.append(image_bytes(block, where))
            case "document":
                own.texts.append(document_text(block, where))
            case "search_result" | "compaction":
                own.texts.append(text_of(block.content, where))
            case "tool_reference":
                own.texts.append(self.tools.load(block.tool_name))
            case "tool_addition" | "tool_removal":
                own.texts.append(self._change(block))
            case kind if kind in CALLS:
                own.calls.append(self._call(block))
            case kind if kind not in SKIPPED:
                self.ignored.append(f"content.{kind}")

    def _call(self, block: ContentBlock) -> ToolCall:
        if not block.id or not block.name:
            missing = "name" if block.id else "id"
            raise InvalidRequest(f"{block.type} block missing required '{missing}' field")
        self._names[block.id] = block.name
        # Arguments that were cut off are no JSON; some clients then send them as text.
        arguments = {} if block.input is None else block.input
        return ToolCall(
            block.name, arguments if isinstance(arguments, str) else dump_text(arguments), block.id
        )

    def _result(self, block: ContentBlock, where: str) -> Message:
        content, images = result_of(block, where, self.tools, self.ignored)
        return Message(
            role="tool",
            content=content,
            images=images,
            tool_name=self._names.get(block.tool_use_id, ""),
            tool_call_id=block.tool_use_id,
        )

    def _change(self, block: ContentBlock) -> str:
        """Add or remove a tool in the middle of a conversation; return the text that replaces the block."""
        match block.tool:
            case {"type": "tool_definition", "definition": definition} if block.type == "tool_addition":
                return self.tools.add(read_tool("tool_addition", definition))
            case {"name": str(name)}:
                return self.tools.load(name) if block.type == "tool_addition" else self.tools.remove(name)
            case _:
                self.ignored.append(f"content.{block.type}")
                return ""
