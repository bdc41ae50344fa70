"""Which functions may be called, and whether one must be."""

from __future__ import annotations

from collections.abc import Sequence

from drover.errors import InvalidRequest
from drover.v1 import engine_pb2 as pb

_FORCED = (pb.ToolChoice.REQUIRED, pb.ToolChoice.NAMED)


def is_forced(choice: pb.ToolChoice) -> bool:
    return choice.mode in _FORCED


def may_call_several(choice: pb.ToolChoice) -> bool:
    return choice.mode != pb.ToolChoice.NAMED and (choice.parallel or not choice.HasField("parallel"))


def chosen_tools(tools: Sequence[pb.Tool], choice: pb.ToolChoice) -> Sequence[pb.Tool]:
    """Those that may be called: none, all, or the one that is named. With "none" llama.cpp would show the
    tools all the same, and an attempt to call one as text.

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
