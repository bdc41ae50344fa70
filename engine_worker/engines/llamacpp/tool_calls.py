"""Tool calls out of llama-server's chat deltas, with ids as Ollama makes them."""

from __future__ import annotations

from typing import cast

from engine_worker.engines.llamacpp.api import Json
from engine_worker.output.arguments import Arguments
from engine_worker.output.base import CallPart
from engine_worker.output.tool_calls import new_call_id


class ToolCallDeltas:
    def __init__(self) -> None:
        self._arguments: dict[int, Arguments] = {}

    def feed(self, delta: Json) -> CallPart:
        """A piece of a call; its first one brings the name."""
        index, function = cast(int, delta["index"]), cast("dict[str, str]", delta["function"])
        is_new = index not in self._arguments
        fragment = function.get("arguments") or ""
        arguments = self._arguments.setdefault(index, Arguments())
        complete = not arguments.complete and arguments.add(fragment)
        return CallPart(
            index,
            id=new_call_id(index) if is_new else "",
            name=function.get("name") or "",
            arguments=fragment,
            complete=complete,
        )

    def finish(self) -> list[CallPart]:
        """Calls that came to their end without any arguments."""
        return [
            CallPart(index, arguments="{}", complete=True)
            for index, arguments in self._arguments.items()
            if arguments.is_blank
        ]
