"""Mutations of a body's JSON values."""

from __future__ import annotations

import json
from collections.abc import Sequence
from random import Random

from drover.json_value import Json

_MOST_STEPS = 4
# Whose values may be anything, or are passed on as they are.
_OPEN_KEYS = ("format", "format", "options", "options", "parameters", "parameters", "tools", "messages")
# About the limits of orjson's writer and reader, Python's stack, and Go's reader.
_DEPTHS = (127, 254, 500, 980, 1_005, 1_024, 9_999, 50_000)
_NESTS = (("[", "]"), ('{"a":', "}"), ('{"items":', "}"), ('{"properties":{"a":', "}}"), ('{"anyOf":[', "]}"))
_LONGEST = 20_050
_LONGEST_TEXT = 100_000
_MOST_BYTES = 1_000_000
_FEW = 100

VALUES: Sequence[Json] = (
    None, True, False, 0, -1, 1, 2**31, 2**32, 2**53 + 1, 2**63, 2**64, -(2**63) - 1, 10**30, 0.1, -0.0,
    1e308, 1e-320, "", " ", "able", "able:latest", "nope", "a/b/c/d", "http://able", ":local", "able:cloud",
    "json", "5m", "-1s", "1h", "9" * 400 + "h", ".s", "high", "max", "YQ==", "YQ=", "é", "\u2028", "\x00",
    "\ud800", "𝄞", "<&>", "{{ .Prompt }}", "{{", "{{ range .Messages }}{{ .Content }}{{ end }}",
    "/etc/passwd", "../x", "sha256:" + "0" * 64, "%s%n", "İ", "ſ", [], [None], [[]], [0], [""], ["YQ=="],
    [{}], {}, {"": None}, {"a": {}}, {"type": "object", "properties": {"a": {}}},
    {"role": "user", "content": "x"}, {"function": {"name": "f", "arguments": {}}}, {"$ref": "#"},
)  # fmt: skip
KEYS = (
    "model", "name", "messages", "prompt", "stream", "format", "options", "keep_alive", "think", "tools",
    "images", "template", "system", "suffix", "context", "raw", "logprobs", "top_logprobs", "truncate",
    "shift", "input", "dimensions", "from", "files", "adapters", "license", "parameters", "quantize",
    "source", "destination", "insecure", "verbose", "role", "content", "thinking", "tool_calls",
    "tool_name", "function", "arguments", "index", "type", "properties", "items", "temperature", "num_ctx",
    "num_predict", "num_keep", "stop", "seed", "top_k", "repeat_last_n", "use_mmap", "num_gpu",
    "_debug_render_only", "MODEL", "Meſſages", "\u212aeep_alive", "", "__class__", "self",
)  # fmt: skip

_Container = list[Json] | dict[str, Json]


def mutated(value: Json, dice: Random, others: Sequence[Json]) -> bytes:
    """`others`: bodies from which parts may come."""
    root: list[Json] = [_copied(value)]
    for _ in range(dice.randint(1, _MOST_STEPS)):
        # The first one holds the body: one that is something else altogether is seldom of interest.
        inner = _containers(root)[1:]
        holder = dice.choice(inner) if inner and dice.random() < 0.95 else root
        _STEPS[dice.randrange(len(_STEPS))](holder, dice, others)
    return _written(root[0] if root else None, dice)


def _copied(value: Json) -> Json:
    copy: Json = json.loads(json.dumps(value))
    return copy


def _containers(root: _Container) -> list[_Container]:
    found: list[_Container] = []
    waiting: list[_Container] = [root]
    while waiting and len(found) < 1_000:
        holder = waiting.pop()
        found.append(holder)
        items = holder.values() if isinstance(holder, dict) else holder
        waiting += [item for item in items if isinstance(item, dict | list)]
    return found


def _put(holder: _Container, dice: Random, value: Json) -> None:
    """In place of what is there, or next to it."""
    if isinstance(holder, dict):
        there = list(holder)
        holder[dice.choice(there) if there and dice.random() < 0.6 else dice.choice(KEYS)] = value
    elif holder and dice.random() < 0.7:
        holder[dice.randrange(len(holder))] = value
    else:
        holder.append(value)


def _other_value(holder: _Container, dice: Random, others: Sequence[Json]) -> None:
    _put(holder, dice, _copied(dice.choice(VALUES)))


def _part_of_another(holder: _Container, dice: Random, others: Sequence[Json]) -> None:
    _put(holder, dice, dice.choice(_containers([_copied(dice.choice(others))])))


def _without(holder: _Container, dice: Random, others: Sequence[Json]) -> None:
    if isinstance(holder, dict) and holder:
        del holder[dice.choice(list(holder))]
    elif isinstance(holder, list) and holder:
        del holder[dice.randrange(len(holder))]


def _renamed(holder: _Container, dice: Random, others: Sequence[Json]) -> None:
    if isinstance(holder, dict) and holder:
        key = dice.choice(list(holder))
        holder[dice.choice((key.upper(), key.title(), key + " ", dice.choice(KEYS)))] = holder.pop(key)


def _deep(holder: _Container, dice: Random, others: Sequence[Json]) -> None:
    value: Json = dice.choice((1, "x", None))
    key = dice.choice(KEYS)
    in_lists = dice.random() < 0.5
    for _ in range(dice.choice((5, 60, 127, 200)) if dice.random() < 0.3 else 3):
        value = [value] if in_lists else {key: value}
    _put(holder, dice, value)


def _long(holder: _Container, dice: Random, others: Sequence[Json]) -> None:
    if dice.random() < 0.9:
        _put(holder, dice, [_copied(dice.choice(VALUES)) for _ in range(dice.randint(0, 30))])
    elif dice.random() < 0.5:
        _put(holder, dice, _many(dice.choice(("x", {}, None, 1)), dice.randint(1_000, _LONGEST)))
    else:
        text = dice.choice(("x", "é", "{{ .Prompt }}", "{{ if . }}", "9", "A", "\ud800", "(", "\\"))
        _put(holder, dice, text * (dice.randint(1_000, _LONGEST_TEXT) // len(text)))


def _many(item: Json, count: int) -> list[Json]:
    """None of them is another one's twin, or what is put into one would be in all."""
    return [{} if isinstance(item, dict) else item for _ in range(count)]


_STEPS = (_other_value, _other_value, _other_value, _part_of_another, _without, _renamed, _deep, _long)


def _written(value: Json, dice: Random) -> bytes:
    """Also as no serialiser would: keys twice, other spaces, more behind the end."""
    text = json.dumps(
        value,
        ensure_ascii=dice.random() < 0.5,
        # Spaces in front of what is nested deep would be most of the body.
        indent=dice.choice((None, None, 1)) if len(_containers([value])) < _FEW else None,
        separators=dice.choice((None, (",", ":"), (" ,\t", "\r\n: "))),
    )
    if isinstance(value, dict) and value and dice.random() < 0.2:
        # Once more, or for the first time: the last one counts.
        member = f"{json.dumps(dice.choice((*value, *_OPEN_KEYS, dice.choice(KEYS))))}:{_neighbour(dice)}"
        text = f"{{{member},{text[1:]}" if dice.random() < 0.3 else f"{text[:-1]},{member}}}"
    if dice.random() < 0.05:
        text += dice.choice(("\n", "x", "{}", "\x00", "]"))
    return text.encode("utf-8", "surrogatepass")[:_MOST_BYTES]


def _neighbour(dice: Random) -> str:
    """A value; at times one that is nested too deep for Python to write."""
    if dice.random() < 0.5:
        return json.dumps(dice.choice(VALUES))
    depth = dice.choice(_DEPTHS) + dice.randint(-3, 3)
    before, after = dice.choice(_NESTS)
    return f"{before * depth}1{after * depth}"
