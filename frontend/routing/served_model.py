"""A model that the fleet serves, under one of its names."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from drover.names import ModelName
from drover.v1 import engine_pb2 as pb

_MOST_NAMES = 256
# Digest, engine and capabilities.
Kind = tuple[str, str, bytes]


def kind_of(model: pb.Model) -> Kind:
    """Equal for models whose workers can replace each other. The same files may serve different tasks: one
    worker generates with them, another one embeds. And they may be another engine's, whose tokens are not
    these.
    """
    return model.digest, model.engine_kind, model.capabilities.SerializeToString(deterministic=True)


@dataclass(frozen=True, slots=True)
class ServedModel:
    """`kind`: of `info`."""

    name: ModelName
    info: pb.Model
    kind: Kind = field(init=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "kind", kind_of(self.info))


def under_each_name(model: pb.Model) -> Sequence[ServedModel]:
    """As a worker serves it; names that are none, and too many, are left out."""
    names = (ModelName.parse(text) for text in model.names[:_MOST_NAMES])
    return [ServedModel(name, model) for name in names if name is not None]
