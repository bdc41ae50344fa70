"""What a client asks for with `think` or an effort, and what its model makes of that
(ollama-contract.md, "Thinking").
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from drover.errors import InvalidRequest
from drover.v1 import engine_pb2 as pb
from frontend.api.core.go_json import Json
from frontend.api.core.typed_fields import FieldPath

# Of models whose own names are not known.
_LEVELS = ("low", "medium", "high", "max")
# The words of efforts, by rank.
_RANKS: Mapping[str, int] = {
    "minimal": 0, "low": 1, "medium": 2, "high": 3, "xhigh": 4, "max": 5, "ultra": 5,
}  # fmt: skip


@dataclass(slots=True)
class Think:
    """`level`: the name that was sent, empty for plain true and false. `alias`: of an effort, the level that
    it means to a model without names of its own, empty for an unknown word; None for `think`. `field`: the
    name of the request's field.
    """

    enabled: bool
    level: str = ""
    alias: str | None = None
    field: str = "think"

    @property
    def insists(self) -> bool:
        """Whether a model that cannot think refuses it. An unknown effort means the model's default."""
        return self.enabled and self.alias != ""


def read_think(value: Json, path: FieldPath) -> Think:
    match value:
        case bool():
            return Think(value)
        case str() if value:
            return Think(enabled=True, level=value)
        case _:
            raise InvalidRequest("think must be a boolean or string")


def effort_of(effort: str, aliases: Mapping[str, str], field: str) -> Think:
    """`aliases`: the levels that the dialect's words mean to a model without names of its own."""
    return Think(False) if effort == "none" else Think(True, effort, aliases.get(effort, ""), field)


def resolved(think: Think | None, known: pb.Thinking | None, can_think: bool) -> pb.Think:
    """What the engine gets. `known`: the values that the model tells apart. A name that is none of them means
    the model's default; an effort means the nearest of them.
    """
    if think is None:
        return _default(known, can_think)
    if not think.enabled:
        return pb.Think(mode=pb.Think.OFF)
    level = _level_of(think, known)
    return _default(known, can_think) if level is None else pb.Think(mode=pb.Think.ON, level=level)


def without_effect(think: Think | None, known: pb.Thinking | None) -> list[str]:
    """The field's name if it has a name that the model does not have."""
    is_unknown = think is not None and think.enabled and _level_of(think, known) is None
    return [think.field] if think is not None and is_unknown else []


def _level_of(think: Think, known: pb.Thinking | None) -> str | None:
    """Empty for plain thinking; None for a name that the model does not have."""
    if not think.level:
        return ""
    if known is None:
        level = think.alias or think.level
        return level if level in _LEVELS else None
    names = [value.name for value in known.values if value.name]
    if think.level in names:
        return think.level
    return _nearest(think.level, names) if think.alias else None


def _nearest(effort: str, names: Sequence[str]) -> str:
    """The name whose rank is nearest, of two the higher one; empty where no name is an effort."""
    rank = _RANKS[effort]
    ranked = [name for name in names if name in _RANKS]
    return min(ranked, key=lambda name: (abs(_RANKS[name] - rank), -_RANKS[name]), default="")


def _default(known: pb.Thinking | None, can_think: bool) -> pb.Think:
    """A model that can think does so by default, unless it is known not to."""
    default = pb.Thinking.Value(on=can_think) if known is None else known.default
    if default.name or default.on:
        return pb.Think(mode=pb.Think.ON, level=default.name)
    return pb.Think(mode=pb.Think.OFF if can_think else pb.Think.UNSET)
