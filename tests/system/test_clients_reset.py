"""Clients that reset their connections, at every phase and with requests in a pipeline: each is one line in
the log, and no traceback.
"""

from __future__ import annotations

import json
import random
import socket
import struct
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path

import httpx
import pytest

from tests.chaos.fleet import load_of
from tests.support.processes import Stack, stack
from tests.support.waiting import wait_until

_CHAT: dict[str, object] = {"model": "sim", "messages": [{"role": "user", "content": "a story " * 50}]}
_REQUESTS: Sequence[tuple[str, dict[str, object]]] = (
    ("/api/chat", _CHAT),
    ("/api/chat", {**_CHAT, "stream": False}),
    ("/api/generate", {"model": "sim", "prompt": "a story"}),
    ("/v1/chat/completions", {**_CHAT, "stream": True}),
    ("/v1/chat/completions", {**_CHAT, "stream": True, "n": 3}),
    ("/v1/chat/completions", _CHAT),
    ("/v1/messages", {**_CHAT, "max_tokens": 50, "stream": True}),
    ("/v1/messages/count_tokens", _CHAT),
    ("/v1/responses", {"model": "sim", "input": "a story", "stream": True}),
    ("/v1/tokenize", {"model": "sim", "prompt": "a story " * 1000}),
    ("/api/show", {"model": "sim"}),
    ("/api/create", {"model": "made", "from": "sim"}),
    ("/api/pull", {"model": "sim"}),
    ("/api/embed", {"model": "sim", "input": "a story"}),
    (f"/api/blobs/sha256:{'0' * 64}", {"a file": "x" * 100_000}),
    ("/nothing", {}),
)
_FLAGS = (
    "--engine",
    "simulator",
    "--model",
    "sim",
    "--sim-prefill-tokens-per-second",
    "400",
    "--sim-decode-step-base-ms",
    "5",
)
_SECONDS = 20.0


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    with stack(tmp_path_factory.mktemp("resets"), _FLAGS, ("--log-format", "json")) as both:
        yield both


def _message(path: str, body: dict[str, object]) -> bytes:
    data = json.dumps(body).encode()
    return b"POST %b HTTP/1.1\r\nhost: localhost\r\ncontent-length: %d\r\n\r\n%b" % (
        path.encode(),
        len(data),
        data,
    )


class _Client:
    def __init__(self, running: Stack, receive_buffer: int = 0) -> None:
        host, _, port = running.frontend.address.rpartition(":")
        self._socket = socket.socket()
        if receive_buffer:
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self._socket.settimeout(_SECONDS)
        self._socket.connect((host, int(port)))

    def send(self, data: bytes) -> None:
        with suppress(ConnectionError):
            self._socket.sendall(data)

    def read_some(self, timeout: float) -> bytes:
        self._socket.settimeout(timeout)
        with suppress(TimeoutError, ConnectionError):
            return self._socket.recv(4096)
        return b""

    def reset(self) -> None:
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._socket.close()

    def close(self) -> None:
        self._socket.close()


def _log(running: Stack) -> list[dict[str, object]]:
    """Every line is one of ours."""
    return [json.loads(line) for line in running.frontend.log_text().splitlines()]


def _check(running: Stack, lines_before: int) -> None:
    """What they had is free, others are served, and the log has a line for each request and nothing else."""
    wait_until(lambda: load_of(running.worker.address).running == 0, _SECONDS, "no request is left behind")
    assert httpx.get(f"{running.url}/api/version").status_code == 200
    text = running.frontend.log_text()
    for words in ("Traceback", "handler is closed", "Expected ASGI message", "Unexpected ASGI message"):
        assert words not in text
    assert {str(line["level"]).lower() for line in _log(running)[lines_before:]} <= {"info"}


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9, 0.99])
def test_while_the_request_is_sent(running: Stack, share: float) -> None:
    before = len(_log(running))
    for path, body in _REQUESTS:
        message = _message(path, body)
        client = _Client(running)
        client.send(message[: int(len(message) * share)])
        client.reset()
    _check(running, before)


@pytest.mark.parametrize("wait_seconds", [0.0, 0.01, 0.1, 0.4])
@pytest.mark.parametrize("resets", [True, False])
def test_while_it_is_answered(running: Stack, wait_seconds: float, resets: bool) -> None:
    before = len(_log(running))
    for path, body in _REQUESTS:
        client = _Client(running)
        client.send(_message(path, body))
        if wait_seconds:
            client.read_some(wait_seconds)
        client.reset() if resets else client.close()
    _check(running, before)


@pytest.mark.parametrize("wait_seconds", [0.0, 0.05, 0.3])
@pytest.mark.parametrize("seed", range(4))
def test_with_a_pipeline(running: Stack, wait_seconds: float, seed: int) -> None:
    before = len(_log(running))
    chosen = random.Random(seed)
    for _ in range(10):
        messages = b"".join(_message(*chosen.choice(_REQUESTS)) for _ in range(chosen.randrange(2, 6)))
        client = _Client(running)
        client.send(messages[: len(messages) - chosen.choice((0, 0, 7, 300))])
        if wait_seconds:
            client.read_some(wait_seconds)
        client.reset()
    _check(running, before)


def test_while_it_does_not_read(running: Stack) -> None:
    before = len(_log(running))
    clients = [_Client(running, receive_buffer=2048) for _ in range(8)]
    for number, client in enumerate(clients):
        path = ("/api/chat", "/v1/responses")[number % 2]
        body = _CHAT if path == "/api/chat" else {"model": "sim", "input": "x", "stream": True}
        client.send(_message(path, {**body, "options": {"num_predict": 3000}}))
        client.send(_message(path, body))
    wait_until(lambda: load_of(running.worker.address).running > 0, _SECONDS, "they run")
    for client in clients:
        client.reset()
    _check(running, before)


def test_a_client_that_disconnects_is_logged_in_one_line(tmp_path: Path) -> None:
    with stack(tmp_path, _FLAGS, ("--log-format", "json")) as own:
        client = _Client(own)
        client.send(_message("/api/chat", _CHAT))
        wait_until(lambda: load_of(own.worker.address).running > 0, _SECONDS, "it runs")
        client.reset()
        wait_until(lambda: load_of(own.worker.address).running == 0, _SECONDS, "it is free")
        wait_until(lambda: "client_left" in own.frontend.log_text(), _SECONDS, "it is said")

        (line,) = [line for line in _log(own) if line.get("path") == "/api/chat"]
    assert line["client_left"] is True
    assert str(line["level"]).lower() == "info"
