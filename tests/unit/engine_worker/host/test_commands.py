"""`drover-host list` and `drover-host prune` where there is no store, or none that can be used."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
import pytest

from drover.rpc import SERVER_OPTIONS
from drover.v1 import engine_pb2, host_pb2
from engine_worker.host import commands
from engine_worker.host.server import SERVICE_NAME
from engine_worker.host.store.local import local_address
from engine_worker.host.store.store import Store


@pytest.mark.parametrize("name", commands.NAMES)
def test_a_store_that_is_not_there_is_not_made(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store = tmp_path / "none"
    assert commands.run(name, ["--store", str(store)]) == 1
    assert capsys.readouterr().err == f"there is no store at {store}: name the folder of one (--store)\n"
    assert not store.exists()


def test_a_file_is_no_store(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").touch()
    assert commands.run("list", ["--store", str(tmp_path / "file")]) == 1
    assert "it must be a folder that user" in capsys.readouterr().err


@pytest.mark.parametrize("name", commands.NAMES)
def test_a_command_says_how_it_is_used(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert commands.run(name, ["--help"]) == 0
    assert capsys.readouterr().out.startswith(f"usage: drover-host {name} ")


def watch(request: host_pb2.WatchHostRequest, context: object) -> Iterator[host_pb2.HostState]:
    """Models with licences of 8 MiB together, more than gRPC takes by default."""
    cards = [engine_pb2.Model(names=[f"{each}:latest"], licenses=["x" * (1 << 20)]) for each in range(8)]
    models = [host_pb2.StoredModel(card=card, engine="llamacpp") for card in cards]
    yield host_pb2.HostState(stored=host_pb2.StoredModels(models=models))


def test_a_long_list_of_a_host_is_shown(
    store: Store, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The store is in use, so the host is asked."""
    method = grpc.unary_stream_rpc_method_handler(
        watch, host_pb2.WatchHostRequest.FromString, host_pb2.HostState.SerializeToString
    )
    server = grpc.server(ThreadPoolExecutor(1), options=SERVER_OPTIONS)
    server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler(SERVICE_NAME, {"Watch": method})])
    server.add_insecure_port(local_address(tmp_path / "store"))
    server.start()
    try:
        assert commands.run("list", ["--store", str(tmp_path / "store")]) == 0
    finally:
        server.stop(None)
    assert "7:latest" in capsys.readouterr().out
