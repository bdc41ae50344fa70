"""Kinds of values of the extensions' fields: each reads a value and checks its range, as SGLang does."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol

from drover.errors import InvalidRequest
from drover.json_value import Json
from drover.ollama_options import UINT32_MAX
from frontend.api.core.request import check_count
from frontend.api.core.typed_fields import FieldPath, boolean, encodable_mapping, integer, number, text


class Kind(Protocol):
    def read(self, value: Json, path: FieldPath) -> object:
        """The checked value. Raises InvalidRequest."""


@dataclass(frozen=True, slots=True)
class Flag:
    def read(self, value: Json, path: FieldPath) -> bool:
        return boolean(value, path)


@dataclass(frozen=True, slots=True)
class Whole:
    """A whole number between `least` and `most`."""

    least: int
    most: int

    def read(self, value: Json, path: FieldPath) -> int:
        found = integer(value, path)
        if not self.least <= found <= self.most:
            raise InvalidRequest(f"{path.field} must be between {self.least} and {self.most}, it is {found}")
        return found


@dataclass(frozen=True, slots=True)
class Number:
    """A finite number between `least` and `most`; `above`: `least` itself is excluded."""

    least: float
    most: float
    above: bool = False

    def read(self, value: Json, path: FieldPath) -> float:
        found = number(value, path)
        is_high_enough = found > self.least if self.above else found >= self.least
        if not (math.isfinite(found) and is_high_enough and found <= self.most):
            begin = "(" if self.above else "["
            raise InvalidRequest(
                f"{path.field} must be in {begin}{self.least:g}, {self.most:g}], it is {found:g}"
            )
        return found


@dataclass(frozen=True, slots=True)
class Text:
    """A text of at most `most` characters; with `printable`, of printable ASCII alone."""

    most: int
    printable: bool = False
    least: int = 0

    def read(self, value: Json, path: FieldPath) -> str:
        found = text(value, path)
        if len(found) < self.least:
            raise InvalidRequest(f"{path.field}: the text is empty")
        if len(found) > self.most:
            raise InvalidRequest(
                f"{path.field}: {len(found)} characters are too many, at most {self.most} are possible"
            )
        if self.printable and not (found.isascii() and found.isprintable()):
            raise InvalidRequest(f"{path.field}: only printable ASCII characters are possible")
        return found


@dataclass(frozen=True, slots=True)
class TokenIds:
    """At most `most` ids of tokens."""

    most: int

    def read(self, value: Json, path: FieldPath) -> list[int]:
        if not isinstance(value, list):
            raise path.wrong_kind(value, "[]int")
        check_count(path.field, len(value), self.most)
        ids = [integer(item, path) for item in value]
        for token in ids:
            if not 0 <= token <= UINT32_MAX:
                raise InvalidRequest(f"{path.field}: {token} is not a token id")
        return ids


@dataclass(frozen=True, slots=True)
class Choices:
    """Between 1 and `most` texts."""

    most: int

    def read(self, value: Json, path: FieldPath) -> list[str]:
        if not isinstance(value, list) or not value:
            raise InvalidRequest(f"{path.field}: a list of texts, one or more, is expected")
        check_count(path.field, len(value), self.most)
        texts = [text(item, path) for item in value]
        if "" in texts:
            raise InvalidRequest(f"{path.field}: a choice is empty")
        return texts


@dataclass(frozen=True, slots=True)
class Object:
    def read(self, value: Json, path: FieldPath) -> dict[str, Json]:
        return encodable_mapping(value, path)


@dataclass(frozen=True, slots=True)
class Anything:
    """Read by the code that uses it."""

    def read(self, value: Json, path: FieldPath) -> Json:
        return value
