"""Tool calls for clients: joined from fragments, and identified."""

from __future__ import annotations

import secrets
import string
from dataclasses import dataclass, field

import orjson

from drover.errors import InvalidRequest
from drover.json_value import Json
from drover.v1 import engine_pb2 as pb
from frontend.api.core.go_json import dump_text

_ID_ALPHABET = string.ascii_lowercase + string.digits


@dataclass(frozen=True, slots=True)
class WholeCall:
    index: int
    id: str
    name: str
    arguments: dict[str, Json]


@dataclass(slots=True)
class _Begun:
    """A call whose arguments are not complete. They are joined once, in the end."""

    id: str = ""
    name: str = ""
    fragments: list[str] = field(default_factory=list)


class ToolCalls:
    """Joins fragments for clients that get whole calls only. Calls that stay incomplete are dropped."""

    def __init__(self) -> None:
        self._open: dict[int, _Begun] = {}

    def feed(self, delta: pb.Delta) -> list[WholeCall]:
        """The calls that this delta completes, except those whose arguments are no JSON object."""
        whole = []
        for piece in delta.tool_calls:
            call = self._open.setdefault(piece.index, _Begun())
            call.id = call.id or piece.id
            call.name = call.name or piece.name
            call.fragments.append(piece.arguments_fragment)
            if piece.complete and (made := _whole(piece.index, self._open.pop(piece.index))):
                whole.append(made)
        return whole


def sent_arguments(text: str) -> str:
    """The arguments of a call that a client sends back: an object as Ollama writes it, any other text
    unchanged, since a call may have been cut off. For functions without parameters clients send "".
    """
    try:
        arguments = orjson.loads(text or "{}")
        return dump_text(arguments) if isinstance(arguments, dict) else text
    except (orjson.JSONDecodeError, InvalidRequest):
        return text


def new_call_id() -> str:
    return "call_" + "".join(secrets.choice(_ID_ALPHABET) for _ in range(8))


def _whole(index: int, call: _Begun) -> WholeCall | None:
    try:
        arguments = orjson.loads("".join(call.fragments) or "{}")
    except orjson.JSONDecodeError:
        return None
    if not isinstance(arguments, dict):
        return None
    return WholeCall(index, call.id or new_call_id(), call.name, arguments)
