"""Reads a keyword's value, or says what is wrong with it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from decimal import Decimal
from typing import NoReturn

from drover.errors import ConstraintRejected

_MOST_SHOWN = 80
# Characters or items: no answer has so many. As a maximum it says nothing, as a minimum nothing obeys it.
MOST_COUNTED = 1_000_000


def refuse(reason: str) -> NoReturn:
    raise ConstraintRejected(f"the JSON schema is malformed: {reason}")


def mapping(keyword: str, value: object) -> Mapping[str, object]:
    if isinstance(value, dict):
        return value
    refuse(f"`{keyword}` must be an object, not {shown(value)}")


def listed(keyword: str, value: object) -> list[object]:
    if isinstance(value, list):
        return value
    refuse(f"`{keyword}` must be a list, not {shown(value)}")


def texts(keyword: str, value: object) -> list[str]:
    if isinstance(value, list) and all(isinstance(each, str) for each in value):
        return value
    refuse(f"`{keyword}` must be a list of strings, not {shown(value)}")


def number(value: object) -> Decimal | None:
    """None for what is none."""
    if isinstance(value, bool) or not isinstance(value, (int, Decimal)):
        return None
    return Decimal(value)


def count(value: object) -> int | None:
    """None for what is no natural number. `3.0` is one."""
    whole = number(value)
    if whole is None or whole < 0 or whole != whole.to_integral_value():
        return None
    return int(whole)


def shown(value: object) -> str:
    text = json.dumps(value, default=str)
    return text if len(text) <= _MOST_SHOWN else f"{text[:_MOST_SHOWN]}…"
