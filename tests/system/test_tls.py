"""Both listeners with TLS: certificates that are replaced under load, and an authority that is taken out."""

from __future__ import annotations

import asyncio
import json
import shutil
import signal
import socket
import ssl
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from drover.tls.files import TlsFiles
from drover.tls.fleet import FRONTEND_NAME, WORKER_NAME
from frontend.health import is_ok
from tests.support.certificates import Authority, replace
from tests.support.processes import Process, free_port, launched, worker
from tests.support.waiting import until, wait_until
from tests.system.conftest import SIMULATOR

_SECONDS = 20.0
_STREAMS = 20
_TOKENS = 250
# So that streams last longer than certificates take to be read again.
_SLOW = (
    *("--sim-decode-step-base-ms", "15", "--sim-answer-tokens-min", str(_TOKENS)),
    *("--sim-answer-tokens-max", str(_TOKENS)),
)


@dataclass
class Certificates:
    """In use: `http`, `frontend` and `worker`; and others, of a new authority."""

    http: TlsFiles
    frontend: TlsFiles
    worker: TlsFiles
    new_http: TlsFiles
    new_frontend: TlsFiles
    new_worker: TlsFiles

    @classmethod
    def make(cls, folder: Path) -> Certificates:
        made = []
        for name in ("old", "new"):
            authority = Authority.make(folder, name)
            for role, names in (
                ("http", "IP:127.0.0.1"),
                ("frontend", f"DNS:{FRONTEND_NAME}"),
                ("worker", f"DNS:{WORKER_NAME}"),
            ):
                made.append(authority.sign(folder / f"{name}-{role}", names))
        return cls(*made)


def _fleet_flags(files: TlsFiles) -> Sequence[str]:
    return (
        *("--fleet-tls-certificate", str(files.certificate), "--fleet-tls-key", str(files.key)),
        *("--fleet-tls-authority", str(files.authority)),
    )


@contextmanager
def _worker(made: Certificates, log: Path, address: str = "") -> Iterator[Process]:
    flags = (*SIMULATOR, *_SLOW, *_fleet_flags(made.worker))
    with worker(log, *flags, ready=False, address=address or f"127.0.0.1:{free_port()}") as process:
        wait_until(lambda: '"ready"' in process.log_text(), _SECONDS, "the worker is ready")
        yield process


@contextmanager
def _frontend(made: Certificates, engine: str, log: Path, *, ready: bool = True) -> Iterator[Process]:
    address = f"127.0.0.1:{free_port()}"
    command = ["-m", "frontend", "--listen", address, "--workers", engine]
    command += ["--tls-certificate", str(made.http.certificate), "--tls-key", str(made.http.key)]
    command += ["--database-url", f"sqlite:///{log.with_suffix('.sqlite3')}", *_fleet_flags(made.frontend)]
    with launched(command, address, log) as process:
        path = "readyz" if ready else "healthz"
        wait_until(lambda: is_ok(f"https://{address}/{path}"), _SECONDS, "the frontend answers")
        yield process


def _issuer(address: str) -> str:
    """The name of the authority that signed what a new connection gets."""
    host, _, port = address.rpartition(":")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with (
        socket.create_connection((host, int(port)), timeout=_SECONDS) as raw,
        context.wrap_socket(raw) as connection,
    ):
        shown = ssl.DER_cert_to_PEM_cert(connection.getpeercert(binary_form=True) or b"")
    text = subprocess.run(
        ["openssl", "x509", "-noout", "-issuer"], input=shown, capture_output=True, text=True, check=True
    )
    return text.stdout.strip().rpartition("=")[2].strip()


async def _stream(client: httpx.AsyncClient, number: int, lines: list[dict[str, object]]) -> None:
    body = {"model": "sim", "prompt": f"stream {number}", "options": {"num_predict": _TOKENS}}
    async with client.stream("POST", "/api/generate", json=body) as answer:
        assert answer.status_code == 200
        async for line in answer.aiter_lines():
            lines.append(json.loads(line))


async def test_certificates_are_replaced_under_load_without_a_broken_stream(tmp_path: Path) -> None:
    made = Certificates.make(tmp_path)
    with (
        _worker(made, tmp_path / "w.log") as engine,
        _frontend(made, engine.address, tmp_path / "f.log") as front,
    ):
        trust = ssl.create_default_context(cafile=str(made.http.authority))
        async with httpx.AsyncClient(
            base_url=f"https://{front.address}", verify=trust, trust_env=False, timeout=_SECONDS
        ) as client:
            seen: list[list[dict[str, object]]] = [[] for _ in range(_STREAMS)]
            streams = [
                asyncio.create_task(_stream(client, number, seen[number])) for number in range(_STREAMS)
            ]
            await until(lambda: all(seen), _SECONDS, "all streams have begun")

            replace(made.http, made.new_http)
            replace(made.worker, made.new_worker)
            replace(made.frontend, made.new_frontend)
            await until(
                lambda: (
                    engine.log_text().count("certificate reloaded") == 1
                    and front.log_text().count("certificate reloaded") == 2
                ),
                _SECONDS,
                "both tiers use the new ones",
            )
            assert not any(stream.done() for stream in streams), "they ran all the time"
            assert await asyncio.to_thread(_issuer, front.address) == "new"
            await asyncio.gather(*streams)

        for lines in seen:
            assert lines[-1]["done"] is True
            assert lines[-1]["eval_count"] == _TOKENS
            assert not any("error" in line for line in lines)
        assert "worker lost" not in front.log_text()

        refused = _with_old_certificates(made, tmp_path)
        with _frontend(refused, engine.address, tmp_path / "old.log", ready=False) as old:
            wait_until(lambda: "no connection to a worker" in old.log_text(), _SECONDS, "it is refused")
            assert not is_ok(f"https://{old.address}/readyz")


def _with_old_certificates(made: Certificates, folder: Path) -> Certificates:
    """A frontend's of the authority that was taken out, which trusts the new one."""
    again = Authority(folder / "old.crt", folder / "old.key").sign(folder / "again", f"DNS:{FRONTEND_NAME}")
    assert again.authority is not None
    assert made.new_frontend.authority is not None
    shutil.copy(made.new_frontend.authority, again.authority)
    return Certificates(**{**made.__dict__, "frontend": again})


def test_a_worker_that_comes_back_with_a_new_authority_is_served_again(tmp_path: Path) -> None:
    """The channel that the frontend has was made with the old one."""
    made = Certificates.make(tmp_path)
    address = f"127.0.0.1:{free_port()}"
    with (
        _worker(made, tmp_path / "w1.log", address) as first,
        _frontend(made, address, tmp_path / "f.log") as front,
    ):
        first.stop()
        replace(made.worker, made.new_worker)
        replace(made.frontend, made.new_frontend)
        with _worker(made, tmp_path / "w2.log", address):
            url = f"https://{front.address}/readyz"
            wait_until(lambda: is_ok(url), _SECONDS, "the worker is served again")


async def test_open_streams_finish_while_a_frontend_with_tls_ends(tmp_path: Path) -> None:
    """The one that is in its handshake at the signal is answered too."""
    made = Certificates.make(tmp_path)
    with (
        _worker(made, tmp_path / "w.log") as engine,
        _frontend(made, engine.address, tmp_path / "f.log") as front,
    ):
        trust = ssl.create_default_context(cafile=str(made.http.authority))
        host, _, port = front.address.rpartition(":")
        async with httpx.AsyncClient(
            base_url=f"https://{front.address}", verify=trust, trust_env=False, timeout=_SECONDS
        ) as client:
            lines: list[dict[str, object]] = []
            stream = asyncio.create_task(_stream(client, 0, lines))
            await until(lambda: bool(lines), _SECONDS, "the stream has begun")
            late, writer = await asyncio.open_connection(host, int(port))
            front.signal(signal.SIGTERM)
            await writer.start_tls(trust, server_hostname=host)
            writer.write(b"GET /readyz HTTP/1.1\r\nhost: localhost\r\n\r\n")
            assert b"503" in await asyncio.wait_for(late.readline(), _SECONDS)
            writer.close()
            await stream
        assert lines[-1]["eval_count"] == _TOKENS
        assert await asyncio.to_thread(front.wait) == 0
    assert "Traceback" not in front.log_text()


@pytest.mark.parametrize("missing", ["--fleet-tls-key", "--fleet-tls-authority"])
def test_half_a_configuration_ends_the_start_with_advice(missing: str, tmp_path: Path) -> None:
    made = Certificates.make(tmp_path)
    flags = list(_fleet_flags(made.worker))
    place = flags.index(missing)
    del flags[place : place + 2]
    with launched(["-m", "engine_worker", *SIMULATOR, *flags], "", tmp_path / "w.log") as process:
        assert process.wait() == 2
    assert f"{missing} " in process.log_text()
    assert "missing, since" in process.log_text()


def test_probes_reach_a_worker_with_tls(tmp_path: Path) -> None:
    """Of a container, with the worker's own certificate; and of Kubernetes, without one."""
    made = Certificates.make(tmp_path)
    plain = f"127.0.0.1:{free_port()}"
    settings = {
        "DROVER_WORKER_FLEET_TLS_CERTIFICATE": str(made.worker.certificate),
        "DROVER_WORKER_FLEET_TLS_KEY": str(made.worker.key),
        "DROVER_WORKER_FLEET_TLS_AUTHORITY": str(made.worker.authority),
    }
    address = f"127.0.0.1:{free_port()}"
    command = ["-m", "engine_worker", "--listen", address, *SIMULATOR, "--health-listen", plain]
    with launched(command, address, tmp_path / "w.log", settings=settings) as process:
        wait_until(lambda: _probe(plain, {}, tmp_path), _SECONDS, "the plain probe")
        assert _probe(address, settings, tmp_path)
        assert not _probe(address, {}, tmp_path)
    assert "Traceback" not in process.log_text()


def _probe(address: str, settings: dict[str, str], folder: Path) -> bool:
    command = ["-m", "engine_worker.health", address]
    with launched(command, address, folder / "probe.log", settings=settings) as probe:
        return probe.wait() == 0
