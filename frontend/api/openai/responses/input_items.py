"""The items of a request's input, as they are stored and sent back to clients."""

from __future__ import annotations

from collections.abc import Sequence

from drover.json_value import Json
from frontend.api.core.go_json import dump_text

_PREFIXES = {
    "compaction": "cmp",
    "custom_tool_call": "ctc",
    "custom_tool_call_output": "ctco",
    "function_call": "fc",
    "function_call_output": "fco",
    "reasoning": "rs",
}
_INPUT = "input"


def sent_items(body: Json) -> list[Json]:
    """The items of a body's input. A text is the user's message."""
    members = body.items() if isinstance(body, dict) else ()
    value = next((item for key, item in reversed([*members]) if key.lower() == _INPUT), None)
    if isinstance(value, str) and value:
        return [{"type": "message", "role": "user", "content": value}]
    return value if isinstance(value, list) else []


def with_items(body: Json, items: Sequence[Json]) -> Json:
    """The body with another input."""
    members = body.items() if isinstance(body, dict) else ()
    return {**{key: value for key, value in members if key.lower() != _INPUT}, _INPUT: [*items]}


def identified(items: Sequence[Json], token: str) -> list[Json]:
    """The items, each with a type and an id: its own, or else one with the `token`. Raises InvalidRequest for
    items that are nested too deep to be sent back.
    """
    whole = [_identified(item, f"{token}_in{number}") for number, item in enumerate(items)]
    dump_text({"response": {"items": whole}})
    return whole


def item_id(item: Json) -> str:
    """The item's id; empty without one."""
    found = item.get("id") if isinstance(item, dict) else None
    return found if isinstance(found, str) else ""


def is_user_message(item: Json) -> bool:
    match item:
        case {"type": "message", "role": str(role)}:
            return role.lower() == "user"
        case _:
            return False


def _identified(item: Json, token: str) -> Json:
    if not isinstance(item, dict):
        return item
    kind = item.get("type") or "message"
    prefix = _PREFIXES.get(kind, "msg") if isinstance(kind, str) else "msg"
    whole: dict[str, Json] = {**item, "id": item_id(item) or f"{prefix}_{token}", "type": kind}
    if kind == "message":
        content = whole.get("content")
        part = "output_text" if whole.get("role") == "assistant" else "input_text"
        whole["content"] = [{"type": part, "text": content}] if isinstance(content, str) else content
        whole.setdefault("status", "completed")
    return whole
