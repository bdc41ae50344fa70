"""SGLang's and vLLM's extensions of the requests, from the table in frontend/api/openai/extras."""

from __future__ import annotations

from drover.json_value import Json
from frontend.api.openai.extras.kinds import Choices, Flag, Kind, Number, Object, Text, TokenIds, Whole
from frontend.api.openai.extras.table import Extra, extras_of
from frontend.openapi.fields import TOKEN_ID
from frontend.openapi.schema import (
    Schema,
    any_of,
    anything,
    array,
    boolean,
    integer,
    mapping,
    number,
    struct,
    text,
)

_WAYS = ("json", "json_object", "regex", "choice", "grammar", "structural_tag")
_JSON_TEXT = text(pattern=r'^\s*\{\s*["}]')


def extension_fields(route: str) -> dict[str, Schema]:
    return {extra.name: _described(extra) for extra in extras_of(route)}


def _described(extra: Extra) -> Schema:
    about = f"An extension of {extra.whose}. {extra.about}"
    match extra.name:
        case "structured_outputs":
            return _structured(about)
        case "guided_json":
            return any_of(mapping({}), _JSON_TEXT, about=about)
        case "json_schema":
            return {**_JSON_TEXT, "description": about}
    return {**_of_kind(extra.kind), "description": about}


def _structured(about: str) -> Schema:
    members: dict[str, Schema] = {
        "json": any_of(mapping({}), _JSON_TEXT),
        "json_object": {"const": True},
        "regex": text(minLength=1),
        "choice": array(text(minLength=1), minItems=1),
        "grammar": text(minLength=1),
        "structural_tag": any_of(mapping({}), _JSON_TEXT),
    }
    one: list[Json] = [{"required": [way]} for way in _WAYS]
    return any_of(struct(members, additionalProperties=True, oneOf=one), about=about)


def _of_kind(kind: Kind) -> Schema:
    match kind:
        case Flag():
            return boolean()
        case Whole(least, most):
            return integer(minimum=least, maximum=most)
        case Number(least, most, above):
            bound = "exclusiveMinimum" if above else "minimum"
            return {**number(maximum=most), bound: least}
        case Text(most, printable, least):
            schema = text(maxLength=most)
            if least:
                schema["minLength"] = least
            if printable:
                schema["pattern"] = r"^[\x20-\x7e]*$"
            return schema
        case TokenIds(most):
            return array(TOKEN_ID, maxItems=most)
        case Choices(most):
            return array(text(minLength=1), minItems=1, maxItems=most)
        case Object():
            return mapping({})
        case _:
            return anything("")
