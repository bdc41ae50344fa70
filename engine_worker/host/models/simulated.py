"""A simulated model: a file of settings in place of weights, for load tests and demonstrations."""

from __future__ import annotations

from dataclasses import dataclass, replace

import orjson

from drover.names import ModelName
from drover.v1 import engine_pb2 as pb
from engine_worker.engines.simulator.config import SimulatorConfig
from engine_worker.engines.simulator.model_info import describe_model
from engine_worker.engines.simulator.script import Scripts
from engine_worker.host.models.base import Needs, StoredModel
from engine_worker.host.models.layers import task_of, text_of
from engine_worker.host.models.model_settings import ModelSettings
from engine_worker.host.store.manifest import Manifest
from engine_worker.host.store.store import Store

SIMULATED = "application/vnd.drover.simulated"


@dataclass(frozen=True, slots=True)
class SimulatedReader:
    """Implements Reader. The file: {"memory_bytes": 1000000, "flags": ["--sim-load-ms", "500"]}, with "gpus"
    and "gpu_bytes" (of each) where it counts for GPUs too.
    """

    store: Store

    def __call__(self, name: ModelName, manifest: Manifest, settings: ModelSettings) -> StoredModel | None:
        layers = manifest.of_type(SIMULATED)
        if not layers:
            return None
        document = orjson.loads(text_of(self.store.blobs.path(layers[0].digest)))
        match document:
            case {"memory_bytes": int(memory_bytes), "flags": list(flags)}:
                pass
            case _:
                raise ValueError("a simulated model has memory_bytes and flags")
        flags = ["--model", name.short, *map(str, flags), *settings.worker_flags]
        task = task_of(flags) or "generate"
        card = describe_model([name.short], SimulatorConfig(), Scripts(), task)
        card.digest, card.manifest = manifest.digest.removeprefix("sha256:"), manifest.digest
        _take_adapters(card, takes_adapters := task == "generate" and settings.adapters is not False)
        card.size_bytes, card.loaded_size_bytes = manifest.size_bytes, memory_bytes
        return StoredModel(
            name,
            manifest,
            card,
            "simulator",
            flags,
            Needs(memory_bytes, int(document.get("gpus", 0)), int(document.get("gpu_bytes", 0))),
            is_simulated=True,
            takes_adapters=takes_adapters,
            is_pinned=settings.pinned,
            max_replicas=settings.max_replicas or 0,
            unusable=settings.refusal("simulator"),
        )


def simulated(model: StoredModel, settings: ModelSettings) -> StoredModel:
    """Any model of the store, as the simulator serves it: with the size that its files say."""
    if model.is_simulated:
        return model
    card = pb.Model()
    card.CopyFrom(model.card)
    card.engine_kind = "simulator"
    _take_adapters(card, takes_adapters := settings.adapters is not False)
    return replace(
        model,
        card=card,
        engine="simulator",
        flags=["--model", model.name.short, *settings.worker_flags],
        is_simulated=True,
        takes_adapters=takes_adapters,
        sleeps=False,
        unusable="",
    )


def _take_adapters(card: pb.Model, takes_adapters: bool) -> None:
    card.capabilities.gguf_adapters = card.capabilities.safetensors_adapters = takes_adapters
