"""The constraint of a request: SGLang's and vLLM's fields, and `response_format`, all mean one of a few."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from drover.errors import InvalidRequest
from drover.v1 import engine_pb2 as pb
from frontend.api.core.go_json import Json, dump_text, loads
from frontend.api.core.ignored_fields import Fields
from frontend.api.core.tool_choice import ToolChoice
from frontend.api.core.typed_fields import FieldPath
from frontend.api.openai.extras.kinds import Choices, Flag, Kind, Object, Text
from frontend.api.openai.extras.table import MAX_CHOICES, MAX_CONSTRAINT_CHARACTERS

_STRUCTURED = "structured_outputs"
_SPECIAL = re.compile(r"[\^$\\.*+?()\[\]{}|/]")
_FORCED = (pb.ToolChoice.REQUIRED, pb.ToolChoice.NAMED)
_TEXT = Text(MAX_CONSTRAINT_CHARACTERS, least=1)
# Keys of `structured_outputs` that say what is wanted; the others say how an engine of vLLM's does it.
_WAYS: dict[str, Kind] = {
    "regex": _TEXT,
    "choice": Choices(MAX_CHOICES),
    "grammar": _TEXT,
    "json_object": Flag(),
}
STRUCTURED_FIELDS = Fields({"json", "structural_tag", *_WAYS})


@dataclass(frozen=True, slots=True)
class Constraint:
    """What the answer must be. `field`: the name of the field that asks for it. `format`: as the neutral
    request has it, for JSON; else `regex`, `ebnf` or `structural_tag`.
    """

    field: str
    format: Json = None
    regex: str = ""
    ebnf: str = ""
    structural_tag: str = ""

    @property
    def is_json(self) -> bool:
        return self.format is not None

    def set_in(self, message: pb.GenerateRequest) -> None:
        """Add what the neutral request does not have."""
        if self.regex:
            message.regex = self.regex
        elif self.ebnf:
            message.ebnf = self.ebnf
        elif self.structural_tag:
            message.structural_tag = self.structural_tag


def only_constraint(
    values: Mapping[str, object], response_format: dict[str, Json] | None
) -> Constraint | None:
    """The only constraint of a request. `values`: the extensions' fields that are set.

    Raises InvalidRequest for several, and for a field that holds none.
    """
    found = [*_of_format(response_format), *(_of_field(name, value) for name, value in values.items())]
    wanted = [each for each in found if each is not None]
    if len(wanted) > 1:
        names = ", ".join(each.field for each in wanted)
        raise InvalidRequest(
            f"only one constraint can be set, and this request has {len(wanted)}: {names}. "
            "Keep one of json_schema, regex, ebnf, or structural_tag"
        )
    return wanted[0] if wanted else None


def check_forced_call(constraint: Constraint | None, choice: ToolChoice | None) -> None:
    """Raises InvalidRequest for a constraint together with a call that the answer must be."""
    if constraint is not None and choice is not None and choice.mode in _FORCED:
        raise InvalidRequest(
            "tool_choice 'required' or a named tool cannot be combined with response_format, regex, or ebnf: "
            f"this request has {constraint.field}"
        )


def _of_format(response_format: dict[str, Json] | None) -> Iterator[Constraint]:
    match response_format:
        case {"type": "json_object"}:
            yield Constraint("response_format", "json")
        case {"type": "json_schema", "json_schema": {"schema": schema}}:
            yield Constraint("response_format", schema)
        case {"type": "structural_tag"}:
            yield Constraint("response_format", structural_tag=dump_text(response_format))


def _of_field(name: str, value: object) -> Constraint | None:
    """The constraint of a field; None for other fields."""
    match name, value:
        case "regex" | "guided_regex", str():
            return Constraint(name, regex=value)
        case "ebnf" | "guided_grammar", str():
            return Constraint(name, ebnf=value)
        case "guided_choice", list():
            return _choice(name, value)
        case "json_schema" | "guided_json", _:
            return Constraint(name, _object(name, value))
        case "structured_outputs", dict():
            return _structured(value)
        case _:
            return None


def _structured(value: dict[str, Json]) -> Constraint:
    ways = [name for name in ("json", "structural_tag", *_WAYS) if value.get(name) not in (None, False)]
    if len(ways) != 1:
        raise InvalidRequest(
            f"{_STRUCTURED}: exactly one of json, json_object, regex, choice, grammar and structural_tag "
            f"must be set, and this request has {', '.join(ways) or 'none'}"
        )
    way = ways[0]
    name = f"{_STRUCTURED}.{way}"
    wanted = _WAYS[way].read(value[way], FieldPath(_STRUCTURED, name)) if way in _WAYS else value[way]
    match way, wanted:
        case "regex", str():
            return Constraint(name, regex=wanted)
        case "grammar", str():
            return Constraint(name, ebnf=wanted)
        case "choice", list():
            return _choice(name, wanted)
        case "json_object", _:
            return Constraint(name, "json")
        case "structural_tag", _:
            return Constraint(name, structural_tag=dump_text(_object(name, wanted)))
        case _:
            return Constraint(name, _object(name, wanted))


def _choice(name: str, values: list[str]) -> Constraint:
    return Constraint(name, regex="|".join(_SPECIAL.sub(r"\\\g<0>", value) for value in values))


def _object(name: str, value: object) -> dict[str, Json]:
    """A schema or a structural tag, which may be sent as its text."""
    if isinstance(value, str):
        if not value.strip():
            raise InvalidRequest(f"{name}: the text is empty")
        try:
            value = loads(value.encode())
        except InvalidRequest as error:
            raise InvalidRequest(f"{name}: it cannot be read as JSON: {error.message}") from error
    if not isinstance(value, dict):
        raise InvalidRequest(f"{name}: an object, or its text, is expected")
    return Object().read(value, FieldPath(_STRUCTURED, name))
