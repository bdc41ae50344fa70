"""A model that the fleet serves, under one of its names."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from drover.names import ModelName
from drover.v1 import engine_pb2 as pb

_MAX_NAMES = 256
# Digest, engine and capabilities.
Kind = tuple[str, str, bytes]


def kind_of(model: pb.Model) -> Kind:
    """Key of interchangeable workers: the manifest, where hosts have started them. For others equal files are
    not enough: workers may use them for different tasks (completion, embedding) and in different engines,
    whose token ids may differ.
    """
    if model.manifest:
        return model.manifest, "", b""
    return model.digest, model.engine_kind, model.capabilities.SerializeToString(deterministic=True)


@dataclass(frozen=True, slots=True)
class ServedModel:
    """`kind`: that of `info`, see `kind_of`."""

    name: ModelName
    info: pb.Model
    kind: Kind = field(init=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "kind", kind_of(self.info))


def under_each_name(model: pb.Model) -> Sequence[ServedModel]:
    """The model under each of its names. Invalid names, and those beyond the limit, are ignored."""
    names = (ModelName.parse(text) for text in model.names[:_MAX_NAMES])
    return [ServedModel(name, model) for name in names if name is not None]
