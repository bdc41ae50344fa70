"""Starts workers for models, and finds again those that an earlier process of this host has started."""

from __future__ import annotations

import asyncio
import logging
import os
import secrets
import shutil
import socket
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import orjson

from drover import logs
from drover.names import ModelName
from drover.settings import split_address, with_port
from drover.v1 import engine_pb2 as pb
from engine_worker.engines.sglang.upstream.environment import METRICS_FOLDER
from engine_worker.host.memory.placement import Placement
from engine_worker.host.models.base import Needs, StoredModel
from engine_worker.host.settings import HostSettings
from engine_worker.host.store.manifest import Manifest
from engine_worker.host.workers.child import LOG, Child, ChildPlace, Events
from engine_worker.host.workers.process import WorkerProcess, end_writers

_log = logging.getLogger("drover.host")
_STATE = "worker.json"
_LONGEST_SOCKET_PATH = 100


class Workers:
    """`folder`: one folder for each running worker. `python_for`: the interpreter for an engine."""

    def __init__(
        self, folder: Path, settings: HostSettings, python_for: Callable[[str], str], events: Events
    ) -> None:
        self._folder = folder
        self._settings = settings
        self._python_for = python_for
        self._events = events
        self._addresses: set[str] = set()
        """Of workers that may not listen yet."""
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)

    def start(
        self, model: StoredModel, needs: Needs, placement: Placement, is_extra: bool, is_pinned: bool
    ) -> Child:
        """Raises OSError if the process cannot be started, ValueError for flags that none can have."""
        address, folder = self._free_address(), self._folder / secrets.token_hex(8)
        folder.mkdir(mode=0o700)
        try:
            place = ChildPlace(address, _socket_in(folder), folder, is_extra, placement.gpus)
            process = self._start_process(model, place, needs, placement, is_pinned)
        except (OSError, ValueError):
            _remove_folders(folder)
            raise
        child = self._child(model, place, process, needs)
        child.gpu_used_before = placement.used_bytes
        child.is_pinned = is_pinned
        child.start(self._settings.load_timeout_seconds, self._settings.drain_seconds)
        return child

    def find_running(self, model_of: Callable[[str], StoredModel | None]) -> Sequence[Child]:
        """The workers of an earlier process that still run. Those whose model is gone, or has other settings
        now, are drained.
        """
        return [child for folder in self._folder.iterdir() if (child := self._find(folder, model_of))]

    def forget(self, child: Child) -> None:
        """It has ended."""
        self._addresses.discard(child.place.address)
        _remove_folders(child.place.folder, child.place.socket)

    def _start_process(
        self,
        model: StoredModel,
        place: ChildPlace,
        needs: Needs,
        placement: Placement,
        is_pinned: bool,
    ) -> WorkerProcess:
        environment = {**os.environ, **placement.environment}
        if model.engine == "sglang":
            # Its files, which would stay when it is killed.
            metrics = place.folder / "metrics"
            metrics.mkdir(mode=0o700)
            environment[METRICS_FOLDER] = str(metrics)
        command = [*self._command(model, place, is_pinned), *placement.flags(model)]
        process = WorkerProcess.start(command, environment, place.log)
        try:
            _write_state(model, place, process, needs)
        except OSError:
            # On a full disk: the next host on this store would not find it.
            process.kill()
            raise
        return process

    def _find(self, folder: Path, model_of: Callable[[str], StoredModel | None]) -> Child | None:
        try:
            state = orjson.loads((folder / _STATE).read_bytes())
            process = WorkerProcess.find(state["pid"], state["started"])
        except (OSError, ValueError, KeyError, TypeError):
            state, process = {}, None
        if process is None:
            # What a worker has started may have outlived it, and one may never have been noted.
            end_writers(folder / LOG)
            _remove_folders(folder, state.get("socket", ""))
            return None
        model = model_of(state["model"])
        is_current = model is not None and state.get("started_with") in (None, model.started_with)
        model = model or _removed(state)
        gpus = tuple(state.get("gpus", ()))
        place = ChildPlace(state["address"], state["socket"], folder, state["is_extra"], gpus)
        needs = Needs(state["memory_bytes"], len(gpus), state.get("gpu_bytes", 0))
        child = self._child(model, place, process, needs)
        # The load's duration is not known any more.
        child.began_unix_ns = state["began_unix_ns"]
        child.is_pinned = model.is_pinned
        child.start(self._settings.load_timeout_seconds, self._settings.drain_seconds)
        why = "" if is_current else ", without its model or with other settings: it drains"
        logs.event(
            _log,
            logging.INFO,
            f"worker found again{why}",
            model=model.name.short,
            address=place.address,
        )
        if not is_current:
            child.drain()
        return child

    def _child(self, model: StoredModel, place: ChildPlace, process: WorkerProcess, needs: Needs) -> Child:
        self._addresses.add(place.address)
        child = Child(model, place, process, needs.memory_bytes, self._events)
        child.gpu_bytes = needs.gpu_bytes
        child.residency_loads = self._settings.min_residency_loads
        return child

    def _command(self, model: StoredModel, place: ChildPlace, is_pinned: bool) -> Sequence[str]:
        settings = self._settings
        return [
            self._python_for(model.engine),
            "-m",
            "engine_worker",
            *("--listen", place.address),
            *("--host-listen", place.socket),
            *settings.tls_flags,
            *("--engine", model.engine),
            *("--name", model.name.short),
            *("--manifest", model.key),
            *("--keep-alive", "-1" if is_pinned else settings.keep_alive),
            *("--drain-grace-seconds", str(settings.drain_seconds)),
            *("--log-format", "json"),
            *("--log-level", settings.log_level),
            *(("--adapters", str(place.folder / "adapters")) if model.takes_adapters else ()),
            *model.flags,
        ]

    def _free_address(self) -> str:
        """Where the next worker listens. Raises OSError if no port is free."""
        host, _ = split_address(self._settings.listen)
        ports: Sequence[int] = self._settings.ports or [0]
        for port in ports:
            try:
                with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
                    probe.bind((host, port))
                    address = with_port(host, probe.getsockname()[1])
            except OSError:
                continue
            if address not in self._addresses:
                return address
        raise OSError(f"no port of --worker-ports {self._settings.worker_ports} is free")


def _socket_in(folder: Path) -> str:
    """In the folder, or in one of its own where the path would be too long for a socket."""
    path = folder / "host.sock"
    if len(str(path)) > _LONGEST_SOCKET_PATH:
        own = _socket_folder(folder)
        own.mkdir(mode=0o700)
        path = own / path.name
    return f"unix:{path}"


def _socket_folder(folder: Path) -> Path:
    return Path(tempfile.gettempdir()) / f"drover-{folder.name}"


def _remove_folders(folder: Path, socket_address: str = "") -> None:
    """The folder of a worker that has ended, and that of its socket."""
    path = socket_address.removeprefix("unix:")
    shutil.rmtree(Path(path).parent if path else _socket_folder(folder), ignore_errors=True)
    shutil.rmtree(folder, ignore_errors=True)


def _removed(state: Mapping[str, Any]) -> StoredModel:
    """What there is to know of a model that the store does not have any more."""
    key, engine = state["model"], state.get("engine", "llamacpp")
    name = ModelName.parse(state.get("name", "")) or ModelName.from_file_name("removed")
    card = pb.Model(names=[name.short], manifest=key)
    return StoredModel(name, Manifest([]), card, engine, is_simulated=engine == "simulator")


def _write_state(model: StoredModel, place: ChildPlace, process: WorkerProcess, needs: Needs) -> None:
    document = {
        "pid": process.pid,
        "started": process.started,
        "model": model.key,
        "name": model.name.short,
        "engine": model.engine,
        "address": place.address,
        "socket": place.socket,
        "memory_bytes": needs.memory_bytes,
        "gpus": place.gpus,
        "gpu_bytes": needs.gpu_bytes,
        "is_extra": place.is_extra,
        "began_unix_ns": time.time_ns(),
        "started_with": model.started_with,
    }
    new = place.folder / f"{_STATE}.new"
    new.write_bytes(orjson.dumps(document))
    new.replace(place.folder / _STATE)


async def write_state(child: Child) -> None:
    """Keep what was measured for a later process of this host."""
    needs = Needs(child.memory_bytes, len(child.place.gpus), child.gpu_bytes)
    await asyncio.to_thread(_write_state, child.model, child.place, child.process, needs)
