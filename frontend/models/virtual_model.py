"""A virtual model in the catalogue: its sides combined."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace

import orjson

from drover.v1 import engine_pb2 as pb
from frontend.models.model import CatalogModel, VirtualTargets
from frontend.models.preset import Preset
from frontend.models.virtual_definition import VirtualModel
from frontend.routing.served_model import ServedModel

_KIND = "smart-router"


def virtual_model(targets: VirtualTargets, preset: Preset | None) -> CatalogModel:
    """The catalogue's entry, without `served` while no worker serves any of its sides."""
    definition = targets.definition
    there = [side for side in targets.sides.values() if side.served is not None]
    served = ServedModel(definition.name, _combined(definition, there)) if there else None
    return CatalogModel(definition.name, served, preset, targets)


def with_preset(side: CatalogModel, over: Preset | None) -> CatalogModel:
    """The side's model, with a virtual model's preset applied over its own."""
    if over is None:
        return side
    own = side.preset or replace(over, base=side.name, parameters={}, system="", examples=(), template="")
    return replace(
        side,
        preset=replace(
            own,
            parameters={**own.parameters, **over.parameters},
            system=over.system or own.system,
            examples=over.examples or own.examples,
        ),
    )


def _combined(definition: VirtualModel, sides: Sequence[CatalogModel]) -> pb.Model:
    infos = [side.info for side in sides]
    context = max(info.context_length for info in infos)
    about = {
        "general.architecture": _KIND,
        "general.basename": definition.name.model,
        f"{_KIND}.context_length": context,
        **{f"{_KIND}.{side.label}": side.model.short for side in definition.sides},
        f"{_KIND}.judge": definition.judge.short,
    }
    return pb.Model(
        names=[definition.name.short],
        digest=hashlib.sha256(repr((definition, [side.digest for side in sides])).encode()).hexdigest(),
        size_bytes=sum(info.size_bytes for info in infos),
        loaded_size_bytes=sum(info.loaded_size_bytes for info in infos),
        loaded_vram_bytes=sum(info.loaded_vram_bytes for info in infos),
        context_length=context,
        trained_context_length=max(info.trained_context_length for info in infos),
        format=_KIND,
        family=_KIND,
        families=[_KIND],
        capabilities=_capabilities(sides),
        engine_kind=_KIND,
        modified_unix_ns=max(info.modified_unix_ns for info in infos),
        model_info_json=orjson.dumps(about).decode(),
    )


def _capabilities(sides: Sequence[CatalogModel]) -> pb.Capabilities:
    """All that any side can, except what gives numbers: those of two models cannot be compared."""
    can = pb.Capabilities()
    for side in sides:
        can.MergeFrom(side.capabilities)
    can.embedding = can.decision = can.rerank = can.classify = False
    return can
