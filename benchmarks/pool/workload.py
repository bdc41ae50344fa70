"""What is asked for: six models, how large they are, and how long an answer is."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.pool.gguf_variants import made_files
from drover.names import ModelName
from engine_worker.host.store.manifest import MODEL, Layer, Manifest
from engine_worker.host.store.store import Store
from tests.support.hosts import put_simulated

_LOAD_MS, _SIMULATED_MIB = 1000, 1000
_SIMULATED_PLACES = 256
# With KV cache for all slots; the contexts differ so that no three models fit where two must.
_SLOTS = 4
# Two of what these models take, 430 to 480 MiB each, and not three; also of what is estimated at first.
_LLAMACPP_MIB = 1150
_CONTEXTS = {
    "smollm2-q4": 3072,
    "gemma3-q4": 1024,
    "smollm2-q8": 2560,
    "gemma3-q8": 512,
    "smollm2-f16": 1024,
    "gemma3-q5": 2048,
}


@dataclass(frozen=True, slots=True)
class Workload:
    """`names`: the most popular model first. `places`: requests that a worker runs at once. `is_measured`:
    whether its memory is that of processes, or what simulated models claim.
    """

    engine: str
    names: Sequence[str]
    put: Callable[[Path], None]
    budget_mib: int
    tokens: int
    places: int
    is_measured: bool
    host_flags: Sequence[str] = ()

    @property
    def weights(self) -> Sequence[float]:
        """Zipf's law."""
        return [1 / (rank + 1) for rank in range(len(self.names))]


def simulated() -> Workload:
    names = [f"model-{number}" for number in range(6)]

    def put(folder: Path) -> None:
        put_simulated(folder, names, _SIMULATED_MIB, "--sim-load-ms", str(_LOAD_MS))

    return Workload(
        "simulator", names, put, 2 * _SIMULATED_MIB + 100, 64, _SIMULATED_PLACES, is_measured=False
    )


def llamacpp(packages: Path) -> Workload:
    files = made_files(packages)
    settings = {
        name: {"context_length": context, "slots": _SLOTS, "flags": ["--threads", "1"]}
        for name, context in _CONTEXTS.items()
    }
    flags = ("--model-settings", json.dumps({f"{name}*": each for name, each in settings.items()}))

    def put(folder: Path) -> None:
        _put_files(folder, {name: files[name] for name in _CONTEXTS})

    return Workload("llamacpp", list(_CONTEXTS), put, _LLAMACPP_MIB, 8, _SLOTS, True, flags)


def _put_files(folder: Path, files: Mapping[str, Path]) -> None:
    store = Store(folder)
    try:
        for name, path in files.items():
            data = path.read_bytes()
            parsed = ModelName.parse(name)
            assert parsed is not None
            store.put(parsed, Manifest([Layer(MODEL, store.blobs.put(data), len(data))]))
    finally:
        store.close()
