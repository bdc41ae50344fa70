"""Models that workers make of their operator's adapters: like presets, without a row in the database."""

from __future__ import annotations

from collections.abc import Iterator

from drover.names import ModelName
from drover.v1 import engine_pb2 as pb
from frontend.models.adapter import Adapter, AdapterFile
from frontend.models.model import CatalogModel
from frontend.models.preset import Preset
from frontend.routing.fleet import Fleet
from frontend.routing.served_model import ServedModel


def named_models(fleet: Fleet) -> Iterator[CatalogModel]:
    """Each name once. A worker's invalid names and empty adapters are ignored."""
    seen = set()
    for base, named in fleet.named_adapters():
        name = ModelName.parse(named.name)
        if name is not None and name.key not in seen and named.adapter.files:
            seen.add(name.key)
            yield CatalogModel(name, base, _preset(name, base, named))


def _preset(name: ModelName, base: ServedModel, named: pb.NamedAdapter) -> Preset:
    files = [AdapterFile(file.name, f"sha256:{file.sha256}", file.size_bytes) for file in named.adapter.files]
    return Preset(
        name=name,
        base=base.name,
        base_digest=base.info.digest,
        base_size_bytes=base.info.size_bytes,
        modified_unix_ns=base.info.modified_unix_ns,
        parent=base.name.short,
        adapter=Adapter(tuple(files), is_operators=True),
    )
