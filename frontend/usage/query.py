"""The query of GET /api/usage."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, timedelta

import orjson

from drover.errors import InvalidRequest
from drover.names import ModelName
from frontend.usage.tally import UsageKey

_DAY = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_DEFAULT_DAYS = 30
_DEFAULT_LIMIT = 1_000
MAX_LIMIT = 10_000
_MAX_DIGITS = 10
MAX_CHARACTERS = 600
_MAX_CURSOR_CHARACTERS = 8_000


@dataclass(frozen=True, slots=True)
class UsageQuery:
    """`first`, `last`: days. `own_key`: the only key whose usage may be read; None for all. `key`: an id or a
    name, `model` in lower case; empty for all. `after`: the last row of the page before.
    """

    first: str
    last: str
    own_key: str | None = None
    key: str = ""
    model: str = ""
    limit: int = _DEFAULT_LIMIT
    after: UsageKey | None = None

    @classmethod
    def read(cls, parameters: Mapping[str, str], own_key: str | None, today: date) -> UsageQuery:
        """Without days: the last thirty. Raises InvalidRequest."""
        last = _day(parameters, "to") or today
        first = _day(parameters, "from") or _days_before(last, _DEFAULT_DAYS - 1)
        if first > last:
            raise InvalidRequest(f"the first day (from {first}) is after the last one (to {last})")
        return cls(
            first.isoformat(),
            last.isoformat(),
            own_key,
            _text(parameters, "key"),
            _model(parameters),
            _limit(parameters),
            _cursor(parameters),
        )


def cursor_of(key: UsageKey) -> str:
    """The `after` of the page behind this row."""
    return base64.urlsafe_b64encode(orjson.dumps(tuple(key))).decode().rstrip("=")


def _day(parameters: Mapping[str, str], name: str) -> date | None:
    text = parameters.get(name, "")
    if not text:
        return None
    try:
        if _DAY.fullmatch(text):
            return date.fromisoformat(text)
    except ValueError:
        pass
    raise InvalidRequest(f"{name} must be a day like 2026-11-30, and is {text!r}")


def _days_before(day: date, days: int) -> date:
    return day - timedelta(days) if day.toordinal() > days else date.min


def _text(parameters: Mapping[str, str], name: str) -> str:
    text = parameters.get(name, "")
    if len(text) > MAX_CHARACTERS or not text.isprintable():
        raise InvalidRequest(f"{name} must be at most {MAX_CHARACTERS} printable characters")
    return text


def _model(parameters: Mapping[str, str]) -> str:
    """Names are written as lists show them; another text matches nothing."""
    text = _text(parameters, "model")
    name = ModelName.parse(text)
    return (name.short if name is not None else text).lower()


def _limit(parameters: Mapping[str, str]) -> int:
    text = parameters.get("limit", "")
    if not text:
        return _DEFAULT_LIMIT
    if text.isascii() and text.isdecimal() and len(text) < _MAX_DIGITS and 1 <= int(text) <= MAX_LIMIT:
        return int(text)
    raise InvalidRequest(f"limit must be a number of rows from 1 to {MAX_LIMIT}")


def _cursor(parameters: Mapping[str, str]) -> UsageKey | None:
    text = parameters.get("after", "")
    if not text:
        return None
    try:
        if len(text) <= _MAX_CURSOR_CHARACTERS:
            found = orjson.loads(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)))
            if isinstance(found, list) and len(found) == len(UsageKey._fields):
                key = UsageKey(*found)
                if all(isinstance(part, str) and (part.isprintable()) for part in key):
                    return key
    except (binascii.Error, ValueError):
        pass
    raise InvalidRequest("after must be the `next` of the page before")
