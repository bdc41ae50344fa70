"""Turn the fragments of an engine's parser into tool calls, and read tool choices."""

from __future__ import annotations

import secrets
import string
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from drover.errors import InvalidRequest
from drover.v1 import engine_pb2 as pb
from engine_worker.output.arguments import Arguments
from engine_worker.output.base import CallPart, Content, Piece

_ID_ALPHABET = string.ascii_lowercase + string.digits
_ID_LENGTH = 8


def new_call_id(number: int) -> str:
    """Make an id as Ollama does (ollama-contract.md, "Messages and tools")."""
    return "call_" + "".join(secrets.choice(_ID_ALPHABET) for _ in range(_ID_LENGTH))


@dataclass(frozen=True, slots=True)
class CallFragment:
    """A piece of a call. A `name` begins a new call; `arguments` continue the call with this `key`."""

    key: int
    name: str
    arguments: str


class CallParser(Protocol):
    """Knows how one model writes calls."""

    def feed(self, text: str) -> tuple[str, Sequence[CallFragment]]:
        """Return text that is not part of a call, and fragments of calls."""

    def finish(self) -> tuple[str, Sequence[CallFragment]]:
        """Return what was held back."""

    @property
    def holds(self) -> bool: ...


@dataclass(slots=True)
class _Call:
    index: int
    name: str
    arguments: Arguments = field(default_factory=Arguments)


class ToolCalls:
    """An OutputParser over a CallParser. `without_arguments` are functions that take no arguments."""

    def __init__(
        self,
        parser: CallParser,
        without_arguments: Iterable[str] = (),
        make_id: Callable[[int], str] = new_call_id,
    ) -> None:
        self._parser = parser
        self._without_arguments = frozenset(without_arguments)
        self._make_id = make_id
        self._calls: dict[int, _Call] = {}
        self._count = 0

    @property
    def holds(self) -> bool:
        return self._parser.holds

    def feed(self, text: str) -> Sequence[Piece]:
        return self._pieces(*self._parser.feed(text))

    def finish(self) -> Sequence[Piece]:
        pieces = self._pieces(*self._parser.finish())
        for call in self._calls.values():
            if not call.arguments and call.name in self._without_arguments:
                call.arguments.add("{}")
                pieces.append(CallPart(call.index, arguments="{}", complete=True))
        return pieces

    def _pieces(self, text: str, fragments: Sequence[CallFragment]) -> list[Piece]:
        pieces: list[Piece] = [Content(text)] if text else []
        for fragment in fragments:
            if fragment.name:
                pieces.append(self._begin(fragment))
            elif self._calls:
                pieces.append(self._continue(fragment))
        return pieces

    def _begin(self, fragment: CallFragment) -> CallPart:
        call = _Call(self._count, fragment.name)
        self._calls[fragment.key] = self._newest = call
        self._count += 1
        complete = call.arguments.add(fragment.arguments)
        return CallPart(call.index, self._make_id(call.index), call.name, fragment.arguments, complete)

    def _continue(self, fragment: CallFragment) -> CallPart:
        call = self._calls.get(fragment.key) or self._newest
        complete = call.arguments.add(fragment.arguments)
        return CallPart(call.index, arguments=fragment.arguments, complete=complete)


_FORCED = (pb.ToolChoice.REQUIRED, pb.ToolChoice.NAMED)


def is_forced(choice: pb.ToolChoice) -> bool:
    return choice.mode in _FORCED


def may_call_several(choice: pb.ToolChoice) -> bool:
    return choice.mode != pb.ToolChoice.NAMED and (choice.parallel or not choice.HasField("parallel"))


def chosen_tools(tools: Sequence[pb.Tool], choice: pb.ToolChoice) -> Sequence[pb.Tool]:
    """The tools that may be called: none, all, or the named one.

    With "none" the engine gets no tools: llama.cpp would render them, and return attempted calls as text.

    Raises InvalidRequest for a choice that the request has no tool for.
    """
    if choice.mode == pb.ToolChoice.NAMED:
        tools = [tool for tool in tools if tool.name == choice.name]
        if not tools:
            raise InvalidRequest(
                f"tool_choice names {choice.name!r}, which is not one of the request's tools"
            )
    if choice.mode == pb.ToolChoice.REQUIRED and not tools:
        raise InvalidRequest("tool_choice asks for a tool call, but the request has no tools")
    return [] if choice.mode == pb.ToolChoice.NONE else tools
