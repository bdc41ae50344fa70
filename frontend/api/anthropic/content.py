"""From Anthropic's messages to the native ones."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import cast

from drover.errors import InvalidRequest
from frontend.api.anthropic.blocks import (
    CALLS,
    RESULTS,
    SILENT,
    Block,
    blocks_of,
    document_text,
    image_bytes,
    text_of,
)
from frontend.api.anthropic.loading import LoadedTools
from frontend.api.anthropic.results import result_of
from frontend.api.anthropic.tools import read_tool
from frontend.api.core.go_json import Json, dump_text
from frontend.api.core.request import Message, ToolCall
from frontend.api.core.typed_fields import anything, read_struct, text

_MAX_MESSAGES = 20_000
_ROLES = ("user", "assistant", "system")
# Claude Code puts a line with a number that changes each time before its system prompt. It is meant for a
# bill, and no prefix of a prompt that begins with it is ever found in a cache.
_BILLING = "x-anthropic-billing-header:"


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
        for block in blocks_of(value, "system")
        if block.type == "text" and not block.text.startswith(_BILLING)
    )


@dataclass(slots=True)
class Conversation:
    """Reads messages in their order. `tools`: the request's, which messages may load. `ignored`: names of
    kinds of blocks that were left out.
    """

    tools: LoadedTools
    ignored: list[str] = field(default_factory=list)
    _names: dict[str, str] = field(default_factory=dict)  # of the tools that were called, by the call's id

    def read(self, value: list[Json]) -> list[Message]:
        """Raises InvalidRequest with the place of what cannot be read."""
        messages: list[Message] = []
        calls = 0
        for number, each in enumerate(value):
            made = self._turn(each, f"messages.{number}")
            messages += made
            calls += sum(len(message.tool_calls) for message in made)
            if len(messages) + calls > _MAX_MESSAGES:
                raise InvalidRequest(
                    f"messages: at most {_MAX_MESSAGES} are possible, and each tool call and result counts "
                    "as one"
                )
        return messages

    def _turn(self, value: Json, where: str) -> list[Message]:
        """One of Anthropic's messages is several native ones: each result of a tool has its own."""
        readers = {"role": text, "content": anything}
        fields = read_struct(value, "MessageParam", readers, "anthropic.MessageParam")
        role = cast(str, fields.get("role", "")).lower()
        if role not in _ROLES:
            raise InvalidRequest(f'{where}.role: "{role}" is none of {", ".join(_ROLES)}')
        said, results = _Said(), []
        for block in blocks_of(cast(Json, fields.get("content")), f"{where}.content"):
            if block.type in RESULTS:
                results.append(self._result(block, where))
            else:
                self._add(said, block, where)
        own = [said.message(role)] if said.is_something or not results else []
        return [*results, *own] if role == "user" else [*own, *results]

    def _add(self, said: _Said, block: Block, where: str) -> None:
        match block.type:
            case "text":
                said.texts.append(block.text)
            case "thinking":
                said.thoughts.append(block.thinking)
            case "image":
                said.images.append(image_bytes(block, where))
            case "document":
                said.texts.append(document_text(block, where))
            case "search_result" | "compaction":
                said.texts.append(text_of(block.content, where))
            case "tool_reference":
                said.texts.append(self.tools.load(block.tool_name))
            case "tool_addition" | "tool_removal":
                said.texts.append(self._change(block))
            case kind if kind in CALLS:
                said.calls.append(self._call(block))
            case kind if kind not in SILENT:
                self.ignored.append(f"content.{kind}")

    def _call(self, block: Block) -> ToolCall:
        if not block.id or not block.name:
            missing = "name" if block.id else "id"
            raise InvalidRequest(f"{block.type} block missing required '{missing}' field")
        self._names[block.id] = block.name
        # What a model wrote may have been cut off, and some clients then send its text.
        given = {} if block.input is None else block.input
        return ToolCall(block.name, given if isinstance(given, str) else dump_text(given), block.id)

    def _result(self, block: Block, where: str) -> Message:
        content, images = result_of(block, where, self.tools, self.ignored)
        return Message(
            role="tool",
            content=content,
            images=images,
            tool_name=self._names.get(block.tool_use_id, ""),
            tool_call_id=block.tool_use_id,
        )

    def _change(self, block: Block) -> str:
        """A tool that comes or goes in the middle of a conversation."""
        match block.tool:
            case {"type": "tool_definition", "definition": definition} if block.type == "tool_addition":
                return self.tools.add(read_tool("tool_addition", definition))
            case {"name": str(name)}:
                return self.tools.load(name) if block.type == "tool_addition" else self.tools.remove(name)
            case _:
                self.ignored.append(f"content.{block.type}")
                return ""
