"""A store with SmolLM2 as safetensors, an adapter for it, and the processes of the worker that serves it."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

import httpx
import psutil

from drover.names import ModelName
from engine_worker import default_model
from engine_worker.host.store.manifest import FILE, Layer, Manifest
from engine_worker.host.store.store import Store
from tests.support.adapters import matrices, write_peft_adapter


def put_smol(folder: Path) -> None:
    """The files of the model that `make model` makes, as `smol`."""
    store = Store(folder)
    files = [path for path in default_model.safetensors_path().iterdir() if path.is_file()]
    layers = [Layer(FILE, store.blobs.put(data := path.read_bytes()), len(data), path.name) for path in files]
    name = ModelName.parse("smol")
    assert name is not None
    store.put(name, Manifest(layers))
    store.close()


def create_pirate(client: httpx.Client, folder: Path) -> None:
    """`pirate` is `smol` with an adapter that says only that."""
    write_peft_adapter(folder, matrices("Ġpirate"))
    adapters = {}
    for path in folder.iterdir():
        digest = f"sha256:{hashlib.sha256(data := path.read_bytes()).hexdigest()}"
        assert client.post(f"/api/blobs/{digest}", content=data).status_code == 201
        adapters[path.name] = digest
    body = {"model": "pirate", "from": "smol", "adapters": adapters, "stream": False}
    assert client.post("/api/create", json=body).json() == {"status": "success"}


def tree_of(pid: int) -> Sequence[psutil.Process]:
    process = psutil.Process(pid)
    return [process, *process.children(recursive=True)]


def have_ended(tree: Sequence[psutil.Process]) -> bool:
    """Zombies have: the machine's init process forgets them soon."""
    return not any(_runs(each) for each in tree)


def _runs(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
