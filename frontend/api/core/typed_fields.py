"""Typed fields out of parsed JSON, as Go's decoder reads them.

Keys match in any letter case and the last one wins, `null` leaves a field unset, unknown keys are ignored,
and the first value of the wrong type, in the order of the body, is an error in Go's words.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from drover.errors import InvalidRequest
from frontend.api.core.go_json import Json, dump_text

_NOT_BASE64 = re.compile(r"[^A-Za-z0-9+/=\r\n]")


@dataclass(frozen=True, slots=True)
class FieldPath:
    """Path of a value as Go's errors name it: `ChatRequest`, `model`."""

    struct: str
    field: str

    def wrong_kind(self, value: Json, go_type: str) -> InvalidRequest:
        return InvalidRequest(
            f"json: cannot unmarshal {kind(value)} into Go struct field {self.struct}.{self.field} "
            f"of type {go_type}"
        )

    def wrong_number(self, value: Json, go_type: str) -> InvalidRequest:
        """The error for a value that is no integer: Go names the digits of a number that does not fit."""
        if not isinstance(value, float):
            return self.wrong_kind(value, go_type)
        return InvalidRequest(
            f"json: cannot unmarshal number {value:g} into Go struct field {self.struct}.{self.field} "
            f"of type {go_type}"
        )


Reader = Callable[[Json, FieldPath], object]


def kind(value: Json) -> str:
    match value:
        case bool():
            return "bool"
        case int() | float():
            return "number"
        case str():
            return "string"
        case list():
            return "array"
        case _:
            return "object"


def read_struct(
    value: Json, struct: str, readers: Mapping[str, Reader], go_type: str, within: FieldPath | None = None
) -> dict[str, object]:
    """Read the fields of an object that are set, by the keys of `readers`. `null` is an empty struct.
    `within`: the field that holds a struct with its own decoder; Go names the paths of errors in it from
    there.
    """
    if value is None:
        return {}
    if not isinstance(value, dict):
        if within is not None:
            raise within.wrong_kind(value, go_type)
        raise InvalidRequest(f"json: cannot unmarshal {kind(value)} into Go value of type {go_type}")
    fields: dict[str, object] = {}
    for key, item in value.items():
        name = key if key in readers else key.lower()
        reader = readers.get(name)
        if reader is not None and item is not None:
            path = (
                FieldPath(struct, name)
                if within is None
                else FieldPath(within.struct, f"{within.field}.{name}")
            )
            fields[name] = reader(item, path)
    return fields


def text(value: Json, path: FieldPath) -> str:
    if not isinstance(value, str):
        raise path.wrong_kind(value, "string")
    return value


def boolean(value: Json, path: FieldPath) -> bool:
    if not isinstance(value, bool):
        raise path.wrong_kind(value, "bool")
    return value


def integer(value: Json, path: FieldPath) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise path.wrong_number(value, "int")
    return value


def number(value: Json, path: FieldPath) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise path.wrong_kind(value, "float64")
    return value


def integers(value: Json, path: FieldPath) -> list[int]:
    if not isinstance(value, list):
        raise path.wrong_kind(value, "[]int")
    return [integer(item, path) for item in value if item is not None]


def anything(value: Json, path: FieldPath) -> Json:
    return value


def mapping(value: Json, path: FieldPath) -> dict[str, Json]:
    if not isinstance(value, dict):
        raise path.wrong_kind(value, "map[string]interface {}")
    return value


def encodable_mapping(value: Json, path: FieldPath) -> dict[str, Json]:
    """A mapping that is encoded again later. Raises InvalidRequest where it is nested too deep for that."""
    fields = mapping(value, path)
    dump_text({path.field: fields})
    return fields


def images(value: Json, path: FieldPath) -> list[bytes]:
    if not isinstance(value, list):
        raise path.wrong_kind(value, "[]api.ImageData")
    return [_image(item, path) for item in value if item is not None]


def _image(value: Json, path: FieldPath) -> bytes:
    if not isinstance(value, str):
        raise path.wrong_kind(value, "[]uint8")
    try:
        return base64.b64decode(value.replace("\r", "").replace("\n", ""), validate=True)
    except (binascii.Error, ValueError):
        found = _NOT_BASE64.search(value)
        at = found.start() if found else len(value) - len(value) % 4
        raise InvalidRequest(f"illegal base64 data at input byte {at}") from None
