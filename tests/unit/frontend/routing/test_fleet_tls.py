"""Mutual TLS between the tiers: who is let in, what is said of those who are not, and new certificates."""

from __future__ import annotations

import asyncio
import logging
import re
import shutil
from collections.abc import AsyncIterator, Awaitable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_health.v1.health import aio as health_aio

from drover.errors import WorkerUnreachable
from drover.rpc import CHANNEL_OPTIONS, SERVER_OPTIONS
from drover.tls.files import TlsFiles
from drover.tls.fleet import FRONTEND_NAME, WORKER_NAME, FleetCertificates, fleet_certificates
from drover.tls.reload import Reloaded
from drover.v1 import engine_pb2 as pb
from drover.v1 import engine_pb2_grpc
from engine_worker.health import is_serving
from engine_worker.tls import FrontendsOnly, server_credentials
from frontend.routing.backends.grpc.tls import ADDRESS, FleetTls
from frontend.routing.backends.grpc.worker import GrpcWorker
from tests.support.certificates import Authority, replace
from tests.support.waiting import until

_SECONDS = 30.0


class _Engine(engine_pb2_grpc.EngineServicer):
    """Answers what it serves, and reports for ever."""

    async def GetModel(self, request: pb.GetModelRequest, context: object) -> pb.Model:
        return pb.Model(names=["m"])

    async def WatchLoad(self, request: pb.WatchLoadRequest, context: Any) -> None:  # type: ignore[override]  # noqa: ANN401 - its type has two parameters
        while True:
            await context.write(pb.LoadReport())
            await asyncio.sleep(0.02)


@dataclass
class Made:
    """Folders with certificates."""

    folder: Path

    def files(self, name: str, authority: str = "ours") -> TlsFiles:
        return TlsFiles(
            self.folder / name / "tls.crt", self.folder / name / "tls.key", self.folder / f"{authority}.crt"
        )

    def own(self, name: str, folder: Path) -> TlsFiles:
        """A copy that a test can change."""
        found = self.files(name)
        folder.mkdir()
        copy = TlsFiles(folder / "tls.crt", folder / "tls.key", folder / "ca.crt")
        for source, target in zip(found.paths, copy.paths, strict=True):
            shutil.copy(source, target)
        return copy


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    folder = tmp_path_factory.mktemp("certificates")
    ours, theirs = Authority.make(folder, "ours"), Authority.make(folder, "theirs")
    ours.sign(folder / "frontend", f"DNS:{FRONTEND_NAME}")
    ours.sign(folder / "worker", f"DNS:{WORKER_NAME}")
    ours.sign(folder / "by-address", "IP:127.0.0.1")
    ours.sign(folder / "old-frontend", f"DNS:{FRONTEND_NAME}", days=-1)
    ours.sign(folder / "old-worker", f"DNS:{WORKER_NAME}", days=-1)
    theirs.sign(folder / "their-frontend", f"DNS:{FRONTEND_NAME}")
    theirs.sign(folder / "their-worker", f"DNS:{WORKER_NAME}")
    return Made(folder)


@dataclass
class _Worker:
    address: str
    certificates: Reloaded[FleetCertificates]


@asynccontextmanager
async def _worker(files: TlsFiles) -> AsyncIterator[_Worker]:
    certificates = Reloaded(files, "server", fleet_certificates, "frontends")
    server = grpc.aio.server(
        interceptors=[FrontendsOnly([FRONTEND_NAME], "--fleet-tls-frontend-names")], options=SERVER_OPTIONS
    )
    engine_pb2_grpc.add_EngineServicer_to_server(_Engine(), server)  # type: ignore[abstract]  # what is not called
    health = health_aio.HealthServicer()
    health_pb2_grpc.add_HealthServicer_to_server(health, server)
    port = server.add_secure_port("127.0.0.1:0", server_credentials(certificates))
    await server.start()
    await health.set("", health_pb2.HealthCheckResponse.SERVING)
    try:
        yield _Worker(f"127.0.0.1:{port}", certificates)
    finally:
        await server.stop(None)


def _tls(files: TlsFiles, name: str = WORKER_NAME) -> FleetTls:
    return FleetTls(Reloaded(files, "client", fleet_certificates, "workers"), name, "--fleet-tls-worker-name")


@asynccontextmanager
async def _connected(address: str, tls: FleetTls | None) -> AsyncIterator[GrpcWorker]:
    worker = GrpcWorker(address, tls)
    try:
        yield worker
    finally:
        await worker.close()


async def _refusal(address: str, tls: FleetTls | None) -> str:
    async with _connected(address, tls) as worker:
        with pytest.raises(WorkerUnreachable) as refused:
            await worker.model(_SECONDS)
        return refused.value.message


async def test_a_frontend_of_the_fleet_is_served(made: Made) -> None:
    async with (
        _worker(made.files("worker")) as worker,
        _connected(worker.address, _tls(made.files("frontend"))) as connected,
    ):
        assert list((await connected.model(_SECONDS)).names) == ["m"]


async def test_a_worker_can_be_known_by_its_address(made: Made) -> None:
    async with (
        _worker(made.files("by-address")) as worker,
        _connected(worker.address, _tls(made.files("frontend"), ADDRESS)) as connected,
    ):
        assert list((await connected.model(_SECONDS)).names) == ["m"]


@pytest.mark.parametrize(
    ("worker", "frontend", "reason"),
    [
        ("worker", "worker", "certificate is for worker.drover, and not for frontend.drover"),
        (
            "worker",
            "their-frontend",
            "refuses this frontend's certificate .*their-frontend/tls.crt: .*issuer",
        ),
        ("worker", "old-frontend", "refuses this frontend's certificate .*old-frontend/tls.crt: .* expired"),
        ("old-worker", "frontend", "the worker's certificate has expired"),
        ("their-worker", "frontend", "the worker's certificate is not signed by an authority of .*ours.crt"),
        (
            "frontend",
            "frontend",
            "is for frontend.drover, and not for worker.drover .--fleet-tls-worker-name",
        ),
    ],
)
async def test_what_is_wrong_with_a_certificate_is_said(
    worker: str, frontend: str, reason: str, made: Made, caplog: pytest.LogCaptureFixture
) -> None:
    async with _worker(made.files(worker)) as running:
        tls = _tls(made.files(frontend))
        caplog.clear()
        message = await _refusal(running.address, tls)

    assert re.search(reason, message), message
    (line,) = [record for record in caplog.records if record.name == "drover.fleet"]
    assert line.getMessage() == "no connection to a worker"
    assert line.levelno == logging.ERROR


async def test_a_reason_is_logged_once(made: Made, caplog: pytest.LogCaptureFixture) -> None:
    async with (
        _worker(made.files("worker")) as worker,
        _connected(worker.address, _tls(made.files("worker"))) as connected,
    ):
        for _ in range(3):
            with pytest.raises(WorkerUnreachable):
                await connected.model(_SECONDS)

    assert len([record for record in caplog.records if record.name == "drover.fleet"]) == 1
    assert len([record for record in caplog.records if record.name == "drover.worker"]) == 1


async def test_a_frontend_without_a_certificate_is_refused(made: Made) -> None:
    async with _worker(made.files("worker")) as worker:
        assert "--fleet-tls-certificate" in await _refusal(worker.address, None)


async def test_a_worker_without_tls_is_refused(made: Made) -> None:
    server = grpc.aio.server()
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        reason = await _refusal(f"127.0.0.1:{port}", _tls(made.files("frontend")))
    finally:
        await server.stop(None)
    assert "the worker does not use TLS" in reason


async def test_every_call_but_health_checks_needs_a_frontends_name(made: Made) -> None:
    """Streams too, and methods that there are not."""
    files = made.files("worker")
    pem = fleet_certificates(files).pem
    credentials = grpc.ssl_channel_credentials(pem.authority, pem.key, pem.certificate)
    options = [*CHANNEL_OPTIONS, ("grpc.ssl_target_name_override", WORKER_NAME)]
    async with (
        _worker(files) as worker,
        grpc.aio.secure_channel(worker.address, credentials, options=options) as channel,
    ):
        stub = engine_pb2_grpc.EngineStub(channel)
        calls: list[Awaitable[object]] = [
            stub.GetModel(pb.GetModelRequest()),
            stub.WatchLoad(pb.WatchLoadRequest()).read(),
            stub.Exchange(iter([])).read(),
            stub.PutAdapter(iter([])),
        ]
        for call in calls:
            with pytest.raises(grpc.aio.AioRpcError) as refused:
                await call
            assert refused.value.code() is grpc.StatusCode.PERMISSION_DENIED
        assert await asyncio.to_thread(is_serving, worker.address, "", 5.0, files)


async def test_new_certificates_are_used_for_new_connections_and_open_ones_stay(
    made: Made, tmp_path: Path
) -> None:
    """Both sides get certificates of another authority, while a stream runs. Then the connection breaks."""
    of_worker, of_frontend = made.own("worker", tmp_path / "w"), made.own("frontend", tmp_path / "f")
    tls = _tls(of_frontend)
    async with AsyncExitStack() as running:
        worker = await running.enter_async_context(_worker(of_worker))
        connected = await running.enter_async_context(_connected(worker.address, tls))
        await connected.model(_SECONDS)
        reports = connected.watch_load(0.02)
        await anext(reports)

        replace(of_worker, made.files("their-worker", "theirs"))
        replace(of_frontend, made.files("their-frontend", "theirs"))
        for certificates in (worker.certificates, tls._certificates):
            certificates.poll()
            certificates.poll()
            assert certificates.version == 1

        for _ in range(5):
            await asyncio.wait_for(anext(reports), _SECONDS)
        assert list((await connected.model(_SECONDS)).names) == ["m"], "on the open connection"
        assert "refuses this frontend's certificate" in await _refusal(
            worker.address, _tls(made.files("frontend", "theirs"))
        )
        async with _connected(worker.address, _tls(made.files("their-frontend", "theirs"))) as new:
            await new.model(_SECONDS)
        await reports.aclose()


async def test_a_lost_connection_is_made_anew_with_the_new_certificates(made: Made, tmp_path: Path) -> None:
    """A channel of gRPC would go on with those that it was made with."""
    files = made.own("frontend", tmp_path / "f")
    tls = _tls(files)
    async with AsyncExitStack() as running:
        async with _worker(made.files("worker")) as first:
            connected = await running.enter_async_context(_connected(first.address, tls))
            await connected.model(_SECONDS)
        await until(lambda: not connected.is_connected, _SECONDS, "the connection is lost")
        replace(files, made.files("their-frontend", "theirs"))
        tls._certificates.poll()
        tls._certificates.poll()
        port = int(first.address.rpartition(":")[2])
        server = grpc.aio.server(options=SERVER_OPTIONS)
        engine_pb2_grpc.add_EngineServicer_to_server(_Engine(), server)  # type: ignore[abstract]  # what is not called
        theirs = Reloaded(made.files("their-worker", "theirs"), "server", fleet_certificates, "frontends")
        server.add_secure_port(f"127.0.0.1:{port}", server_credentials(theirs))
        await server.start()
        running.push_async_callback(server.stop, None)

        assert list((await connected.model(_SECONDS)).names) == ["m"]
