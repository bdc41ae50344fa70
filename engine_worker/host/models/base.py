"""A model of the store, as the host starts and describes it."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

from drover.names import ModelName
from drover.v1 import engine_pb2 as pb
from engine_worker.host.models.model_settings import ModelSettings
from engine_worker.host.store.manifest import Manifest
from engine_worker.settings import EngineKind

# Environment variables that are settings of a worker.
_SETTINGS = ("DROVER_WORKER_", "OLLAMA_")
_MAX_BYTES, _MAX_GPUS = 1 << 62, 4096


@dataclass(frozen=True, slots=True)
class Needs:
    """What a model takes: of the machine's memory, and of each of its GPUs. Raises ValueError for what no
    machine has: files may claim anything.
    """

    memory_bytes: int
    gpus: int = 0
    gpu_bytes: int = 0

    def __post_init__(self) -> None:
        largest = max(self.memory_bytes, self.gpu_bytes)
        least = min(self.memory_bytes, self.gpu_bytes, self.gpus)
        if least < 0 or largest > _MAX_BYTES or self.gpus > _MAX_GPUS:
            raise ValueError(
                f"it would need {self.memory_bytes} bytes of memory and {self.gpu_bytes} of {self.gpus} GPUs"
            )


@dataclass(frozen=True, slots=True)
class StoredModel:
    """`card`: what a worker would answer to GetModel, as far as files tell. `flags`: of its worker.
    `needs`: estimated from the files. `static_gpu_bytes`: what its engine is to keep of each GPU for weights
    and KV cache; 0 for one that is not asked. `is_simulated`: it takes none of what it counts for.
    `is_pinned`: loaded at the start, and never evicted. `max_replicas`: over all hosts; 0 for no limit.
    `takes_adapters`: its worker keeps those of requests. `sleeps`: its worker gives up memory without ending.
    `unusable`: why no worker can serve it, in words; empty if one can.
    """

    name: ModelName
    manifest: Manifest
    card: pb.Model
    engine: EngineKind
    flags: Sequence[str] = field(default=())
    needs: Needs = Needs(0)
    static_gpu_bytes: int = 0
    is_simulated: bool = False
    is_pinned: bool = False
    max_replicas: int = 0
    takes_adapters: bool = False
    sleeps: bool = False
    unusable: str = ""

    @property
    def key(self) -> str:
        """The manifest's digest: what replicas have in common."""
        return self.card.manifest

    @property
    def started_with(self) -> str:
        """A digest of what its worker is started with, by flags and environment, which tells what was learnt
        with other settings.
        """
        inherited = (f"{name}={value}" for name, value in os.environ.items() if name.startswith(_SETTINGS))
        parts = [self.engine, str(self.takes_adapters), *self.flags, *sorted(inherited)]
        return hashlib.sha256("\0".join(parts).encode(errors="surrogateescape")).hexdigest()


class Reader(Protocol):
    """Reads the files of one kind of model. Blocks: use a thread."""

    def __call__(self, name: ModelName, manifest: Manifest, settings: ModelSettings) -> StoredModel | None:
        """None if the manifest is of another kind. Raises ValueError for files that cannot be used."""
