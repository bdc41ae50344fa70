"""Sorts the results of parallel tool calls by the order of the calls.

Clients send results as they finish. A chat template that shows no ids leaves the model to pair the first
result with the first call.
"""

from __future__ import annotations

from collections.abc import Sequence

from frontend.api.core.request import Message, ToolCall


def in_call_order(messages: Sequence[Message]) -> list[Message]:
    """Sort results between two turns of the assistant. A result belongs to the call with its id or, without
    one, to the first call of its function's name. Results of no call keep their positions.
    """
    ordered = list(messages)
    calls: list[ToolCall] = []
    indexes: list[int] = []
    for at, message in enumerate(messages):
        if message.role == "tool":
            indexes.append(at)
        elif message.role == "assistant":
            if indexes:
                _sort(ordered, indexes, calls)
                calls, indexes = [], []
            calls += message.tool_calls
    _sort(ordered, indexes, calls)
    return ordered


def _sort(messages: list[Message], indexes: Sequence[int], calls: Sequence[ToolCall]) -> None:
    """Permute only the results that belong to a call."""
    if len(indexes) < 2 or len(calls) < 2:
        return
    by_id = {call.id: at for at, call in reversed([*enumerate(calls)]) if call.id}
    by_name: dict[str, list[int]] = {}
    taken = {
        by_id[messages[index].tool_call_id] for index in indexes if messages[index].tool_call_id in by_id
    }
    for at, call in enumerate(calls):
        if at not in taken:
            by_name.setdefault(call.name, []).append(at)
    ranked: list[tuple[int, int]] = []
    for index in indexes:
        result = messages[index]
        if result.tool_call_id in by_id:
            ranked.append((by_id[result.tool_call_id], index))
        elif not result.tool_call_id and by_name.get(result.tool_name):
            ranked.append((by_name[result.tool_name].pop(0), index))
    in_order = [messages[index] for _, index in sorted(ranked)]
    for (_, index), message in zip(ranked, in_order, strict=True):
        messages[index] = message
