"""The kinds of calls in a response: how the call of each kind of tool is written."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto

from drover.json_value import Json
from frontend.api.blocks import Block
from frontend.api.openai.responses.custom_input import InputReader, input_of

# The namespace of tools that are in none.
DEFAULT_NAMESPACE = "functions"


class ToolKind(Enum):
    """What a tool takes: JSON arguments, a text, or, as the client's tool search, a query for tools."""

    FUNCTION = auto()
    CUSTOM = auto()
    SEARCH = auto()


@dataclass(frozen=True, slots=True)
class Origin:
    """A tool as the client declared it. `namespace`: empty for none; the model sees it in the name."""

    name: str
    namespace: str = ""
    kind: ToolKind = ToolKind.FUNCTION


@dataclass(frozen=True, slots=True)
class CallFormat:
    """`prefix`: of the item's id. `member`: has the arguments, in the item and in the event of their end.
    `events`: the name of the events of arguments; empty where there are none.
    """

    type: str
    prefix: str
    member: str
    events: str


FORMATS = {
    ToolKind.FUNCTION: CallFormat("function_call", "fc", "arguments", "response.function_call_arguments"),
    ToolKind.CUSTOM: CallFormat("custom_tool_call", "ctc", "input", "response.custom_tool_call_input"),
    ToolKind.SEARCH: CallFormat("tool_search_call", "tsc", "arguments", ""),
}


def call_item(origin: Origin, item_id: str, block: Block, status: str) -> dict[str, Json]:
    """The item of a call; without arguments while it is in progress, since deltas carry them.

    An incomplete call has the status incomplete, whatever the response's status is.
    """
    call = FORMATS[origin.kind]
    is_open = status == "in_progress"
    item: dict[str, Json] = {
        "id": item_id,
        "type": call.type,
        "status": status if is_open else "completed" if block.complete else "incomplete",
        "call_id": block.call_id,
    }
    if origin.kind is ToolKind.SEARCH:
        found: Json = {} if is_open else (block.arguments or {})
        return {**item, "execution": "client", call.member: found}
    item = {**item, "name": origin.name, call.member: "" if is_open else arguments_of(origin, block.text)}
    return {**item, "namespace": origin.namespace} if origin.namespace else item


def arguments_of(origin: Origin, text: str) -> str:
    """What the client gets of the arguments that the model wrote."""
    return input_of(text) if origin.kind is ToolKind.CUSTOM else text


class ArgumentReader:
    """The arguments of one call as they are streamed to the client. `events`: as in CallFormat."""

    def __init__(self, origin: Origin) -> None:
        self.events = FORMATS[origin.kind].events
        self.member = FORMATS[origin.kind].member
        self._input = InputReader() if origin.kind is ToolKind.CUSTOM else None

    def feed(self, fragment: str) -> str:
        return fragment if self._input is None else self._input.feed(fragment)

    def finish(self) -> str:
        """What is left when no fragment follows."""
        return "" if self._input is None else self._input.finish()
