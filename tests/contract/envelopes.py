"""What is left of an answer of /v1/messages or /v1/responses: equal where no client can tell two apart.

Ids and times are of their kind. Deltas that follow each other and grow the same thing count as one, since it
is a matter of timing how many tokens share a delta. Arguments of calls are compared as the JSON they are,
and of what counts tokens the sums. What is not compared on purpose stands in EXTRA.
"""

from __future__ import annotations

import json
import re

from tests.contract.comparison import JsonValue
from tests.support.sse import Event, events_of

Struct = dict[str, JsonValue]
# Members that are not compared, and why.
EXTRA = {
    "truncation": "upstream says that it does not truncate where it does",
    "stop_sequence": "Anthropic's API always has it; it tells which text was matched",
    "signature": "clients keep thoughts only with one",
    "cache_creation_input_tokens": "cached tokens are counted apart, as Anthropic does",
    "cache_read_input_tokens": "cached tokens are counted apart, as Anthropic does",
}
EXTRA_EVENTS = {
    "response.reasoning_summary_part.added": "OpenAI's API has it around a summary's text",
    "response.reasoning_summary_part.done": "OpenAI's API has it around a summary's text",
}
_ID = re.compile(r"(msg|req|resp|rs|fc|call)_\w+")
_GROWS = ("delta", "partial_json", "text", "thinking")
_JSON_TEXTS = ("partial_json", "arguments", "delta")


def comparable_envelope(body: str, content_type: str, same_tokens: bool) -> object:
    """`same_tokens`: both count in the tokens of the same model."""
    if "event-stream" in content_type:
        return [
            (name, _plain(data if same_tokens and name != "message_start" else _uncounted(data)))
            for name, data in _joined(events_of(body))
            if not _is_signature(data) and name not in EXTRA_EVENTS
        ]
    if "json" not in content_type or not body:
        return body
    value: JsonValue = json.loads(body)
    return _plain(value if same_tokens else _uncounted(value))


def _uncounted(value: JsonValue) -> JsonValue:
    """Also what upstream guesses at the beginning of a message, before its engine has counted."""
    if isinstance(value, dict):
        return {key: "counts" if key == "usage" and item else _uncounted(item) for key, item in value.items()}
    return [*map(_uncounted, value)] if isinstance(value, list) else value


def _is_signature(data: Struct) -> bool:
    delta = data.get("delta")
    return isinstance(delta, dict) and delta.get("type") == "signature_delta"


def _joined(events: list[Event]) -> list[Event]:
    joined: list[Event] = []
    for name, data in events:
        value = {key: item for key, item in data.items() if key != "sequence_number"}
        if joined and name.endswith("delta") and _shape(joined[-1]) == _shape((name, value)):
            joined[-1] = (name, _sum(joined[-1][1], value))
        else:
            joined.append((name, value))
    return joined


def _shape(event: Event) -> object:
    """What two deltas of the same thing have in common."""
    return event[0], _without_text(event[1])


def _without_text(value: JsonValue) -> JsonValue:
    if not isinstance(value, dict):
        return value
    return {
        key: None if key in _GROWS and isinstance(item, str) else _without_text(item)
        for key, item in value.items()
    }


def _sum(one: Struct, other: Struct) -> Struct:
    return {key: _sum_of(key, item, other[key]) for key, item in one.items()}


def _sum_of(key: str, one: JsonValue, other: JsonValue) -> JsonValue:
    if isinstance(one, dict) and isinstance(other, dict):
        return _sum(one, other)
    if key in _GROWS and isinstance(one, str) and isinstance(other, str):
        return one + other
    return one


def _plain(value: JsonValue, key: str = "") -> object:
    match value:
        case dict():
            return {
                name: _plain(item, name)
                for name, item in _counted(value).items()
                if name not in EXTRA and not (name == "stop_reason" and item is None)
            }
        case list():
            return [_plain(item) for item in value]
        case str() if key in _JSON_TEXTS:
            return _parsed(value)
        case str() if _ID.fullmatch(value):
            return value.partition("_")[0]
        case None if key in ("content", "output"):
            # Where there is nothing: clients that go through it must not break.
            return []
        case int() if key in ("created_at", "completed_at"):
            assert value > 1_600_000_000
            return "a time"
        case _:
            return value


def _counted(value: Struct) -> Struct:
    """Upstream counts what was cached as input like the rest, and neither it nor what was thought apart."""
    tokens, cached = value.get("input_tokens"), value.get("cache_read_input_tokens", 0)
    if not isinstance(tokens, int) or not isinstance(cached, int):
        return value
    apart = ("input_tokens_details", "output_tokens_details")
    return {**{key: item for key, item in value.items() if key not in apart}, "input_tokens": tokens + cached}


def _parsed(text: str) -> object:
    try:
        value: JsonValue = json.loads(text)
    except json.JSONDecodeError:
        return text
    return value
