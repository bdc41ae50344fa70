"""Scripted answers: a file says what the engine answers to prompts that contain a given text.

The file is a JSON list of entries {"match": text, "events": [event, ...]}; the first entry whose `match` is
part of what is to be answered plays: all that follows the last assistant message, or the prompt. So an
agent's loop is scripted turn by turn, one entry for its question and one for each tool's result; the results
that answer a call do not play that call again. An event has one of these keys:

    {"text": "..."}            content, all in one engine step
    {"thinking": "..."}        reasoning, all in one engine step
    {"tool_call": {"name": "...", "arguments": {...}, "id": "..."}}   a whole call; the id may be left out
    {"pause_ms": 250}          no output for that long
    {"hang_ms": 60000}         the engine stops for that long, for other requests too
    {"fail": "..."}            the engine breaks down with this message

An entry may have "scores" in place of its events, or as well: the probabilities of labels, by their texts,
for requests that score labels. Only entries that have them play for such requests, and only those with
events play for the others. Its pauses, hangs and failures come before the scores.

With "repeat": n an event plays n times. Scripts play as they are written, whatever the request
allows: also reasoning where it was turned off, and calls of tools that were not offered. But where the
request demands a call, a script without it is refused.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import repeat
from pathlib import Path

from engine_worker.engines.simulator.tokens import Tokenizer, bytes_of_all

_ENTRY_KEYS = ("events", "scores")
_ROUNDING = 1e-6
_EVENT_KEYS = ("text", "thinking", "tool_call", "pause_ms", "hang_ms", "fail")


@dataclass(frozen=True, slots=True)
class Piece:
    """Tokens that one step produces, and their bytes. `thinking`: they are reasoning, not content."""

    ids: tuple[int, ...]
    data: bytes
    thinking: bool = False

    def cut(self, tokens: int) -> Piece:
        ids = self.ids[:tokens]
        return Piece(ids, bytes_of_all(ids), self.thinking)


@dataclass(frozen=True, slots=True)
class ScriptedCall:
    """A whole tool call and its tokens. Without an id it gets one that depends on the prompt."""

    name: str
    arguments_json: str
    id: str | None
    ids: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Pause:
    """No output of this request for `milliseconds`."""

    milliseconds: float


@dataclass(frozen=True, slots=True)
class Hang:
    """No output of any request for `milliseconds`."""

    milliseconds: float


@dataclass(frozen=True, slots=True)
class Fail:
    """The request fails with this message."""

    message: str


Event = Piece | ScriptedCall | Pause | Hang | Fail


class ScriptError(ValueError):
    """A script file that cannot be played; the message names the file, the entry and the reason."""


@dataclass(frozen=True, slots=True)
class Step:
    event: Event
    times: int

    @property
    def tokens(self) -> int:
        return len(self.event.ids) * self.times if isinstance(self.event, Piece | ScriptedCall) else 0


@dataclass(frozen=True, slots=True)
class Script:
    """One entry of the file. `tokens` is its length without the end-of-sequence token. `scores` are
    probabilities by label; `answers` is False for an entry that has only those.
    """

    match: str
    steps: tuple[Step, ...]
    tokens: int
    scores: Mapping[str, float] | None = None
    answers: bool = True

    def calls(self, name: str) -> bool:
        """True if it calls the function `name`, or any function if `name` is empty."""
        return any(
            isinstance(step.event, ScriptedCall) and name in ("", step.event.name) for step in self.steps
        )

    @property
    def interruptions(self) -> Sequence[Event]:
        """The events without output."""
        return [event for event in self.play() if isinstance(event, Pause | Hang | Fail)]

    def play(self) -> Iterator[Event]:
        for step in self.steps:
            yield from repeat(step.event, step.times)


@dataclass(frozen=True, slots=True)
class Scripts:
    """The entries of a file, and its text (`source`)."""

    source: str = ""
    entries: tuple[Script, ...] = ()

    @classmethod
    def read(cls, path: Path, tokenizer: Tokenizer) -> Scripts:
        """Raises ScriptError."""
        try:
            source = path.read_text(encoding="utf-8")
            value: object = json.loads(source)
        except OSError as error:
            raise ScriptError(f"script {path}: it cannot be read: {error.strerror}") from error
        except ValueError as error:
            raise ScriptError(f"script {path}: it is not JSON: {error}") from error
        if not isinstance(value, list):
            raise ScriptError(f"script {path}: it must be a list of entries")
        return cls(
            source, tuple(_entry(path, number, entry, tokenizer) for number, entry in enumerate(value))
        )

    def find(self, question: str) -> Script | None:
        return next((script for script in self.entries if script.answers and script.match in question), None)

    def find_scores(self, question: str) -> Script | None:
        found = (each for each in self.entries if each.scores is not None and each.match in question)
        return next(found, None)

    @property
    def call_tools(self) -> bool:
        return any(isinstance(step.event, ScriptedCall) for script in self.entries for step in script.steps)

    @property
    def think(self) -> bool:
        return any(
            isinstance(step.event, Piece) and step.event.thinking
            for script in self.entries
            for step in script.steps
        )


def _entry(path: Path, number: int, value: object, tokenizer: Tokenizer) -> Script:
    try:
        has_scores = isinstance(value, dict) and "scores" in value
        fields = _fields(
            value, required=("match",) if has_scores else ("match", "events"), optional=_ENTRY_KEYS
        )
        events = fields.get("events", [])
        if not isinstance(events, list):
            raise ValueError("`events` must be a list")
        steps = tuple(_step(at, event, tokenizer) for at, event in enumerate(events))
        scores = _probabilities(fields["scores"]) if has_scores else None
        tokens = sum(step.tokens for step in steps)
        return Script(_text(fields, "match"), steps, tokens, scores, answers="events" in fields)
    except ValueError as error:
        raise ScriptError(f"script {path}: entry {number}: {error}") from error


def _probabilities(value: object) -> Mapping[str, float]:
    if not isinstance(value, dict) or not value:
        raise ValueError("`scores` must be an object of labels and their probabilities")
    for label, share in value.items():
        if isinstance(share, bool) or not isinstance(share, int | float) or not 0 <= share <= 1:
            raise ValueError(f"the score of {label!r} must be a probability, 0 to 1 (it is {share!r})")
    if math.fsum(value.values()) > 1 + _ROUNDING:
        raise ValueError("the `scores` of an entry must not add up to more than 1")
    return {label: float(share) for label, share in value.items()}


def _step(at: int, value: object, tokenizer: Tokenizer) -> Step:
    try:
        fields = _fields(value, optional=("repeat", *_EVENT_KEYS))
        times = fields.pop("repeat", 1)
        if not isinstance(times, int) or isinstance(times, bool) or times < 1:
            raise ValueError(f"`repeat` must be a whole number, 1 or more (it is {times!r})")
        if len(fields) != 1:
            raise ValueError(f"it must have exactly one of {', '.join(_EVENT_KEYS)}")
        return Step(_event(fields, tokenizer), times)
    except ValueError as error:
        raise ValueError(f"event {at}: {error}") from error


def _event(fields: dict[str, object], tokenizer: Tokenizer) -> Event:
    (key,) = fields
    match key:
        case "text" | "thinking":
            ids = _ids(_text(fields, key), tokenizer)
            return Piece(ids, bytes_of_all(ids), thinking=key == "thinking")
        case "tool_call":
            return _call(fields[key], tokenizer)
        case "pause_ms":
            return Pause(_milliseconds(key, fields[key]))
        case "hang_ms":
            return Hang(_milliseconds(key, fields[key]))
        case _:
            return Fail(_text(fields, key))


def _call(value: object, tokenizer: Tokenizer) -> ScriptedCall:
    fields = _fields(value, required=("name", "arguments"), optional=("id",))
    name, arguments = _text(fields, "name"), fields["arguments"]
    if not isinstance(arguments, dict):
        raise ValueError("`arguments` must be an object")
    arguments_json = json.dumps(arguments, ensure_ascii=False)
    call_id = _text(fields, "id") if "id" in fields else None
    ids = _ids(json.dumps({"name": name, "arguments": arguments}, ensure_ascii=False), tokenizer)
    return ScriptedCall(name, arguments_json, call_id, ids)


def _ids(text: str, tokenizer: Tokenizer) -> tuple[int, ...]:
    try:
        return tuple(tokenizer.encode(text))
    except UnicodeEncodeError as error:
        raise ValueError("it holds half of a surrogate pair") from error


def _milliseconds(key: str, value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < math.inf:
        raise ValueError(f"`{key}` must be a number, 0 or more (it is {value!r})")
    return float(value)


def _fields(value: object, required: Sequence[str] = (), optional: Sequence[str] = ()) -> dict[str, object]:
    if not isinstance(value, dict):
        raise ValueError("it must be an object")
    for name in required:
        if name not in value:
            raise ValueError(f"`{name}` is missing")
    for name in value:
        if name not in required and name not in optional:
            raise ValueError(f"`{name}` is not known here")
    return dict(value)


def _text(fields: dict[str, object], name: str) -> str:
    value = fields[name]
    if not isinstance(value, str):
        raise ValueError(f"`{name}` must be a text (it is {value!r})")
    return value
