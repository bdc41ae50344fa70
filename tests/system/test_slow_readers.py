"""Clients that do not read, on one stream between the tiers with clients that do: they hold up no other, and
get every byte in order once they read on.
"""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator

import httpx
import pytest

from tests.chaos.fleet import load_of
from tests.support.processes import Stack, stack
from tests.support.waiting import wait_until
from tests.system.conftest import SIMULATOR

_SECONDS = 60.0
_TOKENS = 4000
# With log probabilities, each answer is larger than what all buffers take on the way to a client.
_LONG = (
    *("--sim-answer-tokens-min", str(_TOKENS), "--sim-answer-tokens-max", str(_TOKENS)),
    *("--sim-decode-step-base-ms", "0.5", "--sim-decode-step-per-running-ms", "0"),
)


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    with stack(tmp_path_factory.mktemp("slow"), (*SIMULATOR, *_LONG)) as both:
        yield both


_LOGPROBS: dict[str, object] = {"logprobs": True, "top_logprobs": 20}
_ROUTES: dict[str, dict[str, object]] = {
    "/api/chat": {"options": {"temperature": 0}},
    "/v1/chat/completions": {"temperature": 0, "stream": True},
}


def _body(path: str, question: str) -> dict[str, object]:
    """Greedy, so that an answer is the same again."""
    return {"model": "sim", "messages": [{"role": "user", "content": question}], **_ROUTES[path]}


class Stalled:
    """A client with small buffers that has sent its request and reads nothing yet."""

    def __init__(self, running: Stack, path: str, body: dict[str, object]) -> None:
        host, _, port = running.frontend.address.rpartition(":")
        self._socket = socket.socket()
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        self._socket.settimeout(_SECONDS)
        self._socket.connect((host, int(port)))
        data = json.dumps(body).encode()
        head = ("host: localhost", "connection: close", f"content-length: {len(data)}")
        lines = (f"POST {path} HTTP/1.1", *head, "", "")
        self._socket.sendall("\r\n".join(lines).encode() + data)

    def leave(self) -> None:
        self._socket.close()

    def read_on(self) -> bytes:
        """All, without the framing of chunks."""
        whole = b""
        while piece := self._socket.recv(1 << 16):
            whole += piece
        self._socket.close()
        head, _, rest = whole.partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 200 ")
        chunks = b""
        while rest:
            size, _, rest = rest.partition(b"\r\n")
            chunks, rest = chunks + rest[: int(size, 16)], rest[int(size, 16) + 2 :]
        return chunks


def _lines(body: str) -> list[str]:
    return [line for line in body.splitlines() if line and line != "data: [DONE]"]


def _text(path: str, lines: list[str]) -> str:
    """Of the answer. Every line is whole."""
    values = [json.loads(line.removeprefix("data: ")) for line in lines]
    if path == "/api/chat":
        return "".join(value["message"]["content"] for value in values)
    return "".join(value["choices"][0]["delta"].get("content") or "" for value in values)


def _answer(running: Stack, path: str, question: str) -> str:
    with httpx.Client(timeout=_SECONDS) as client:
        response = client.post(running.url + path, json=_body(path, question))
        assert response.status_code == 200
        return _text(path, _lines(response.text))


@pytest.mark.parametrize("path", _ROUTES)
def test_a_slow_reader_delays_no_other_and_loses_nothing(running: Stack, path: str) -> None:
    expected = _answer(running, path, "A long story?")
    assert len(expected) > _TOKENS
    stalled = Stalled(running, path, {**_body(path, "A long story?"), **_LOGPROBS})
    for number in range(2):
        assert len(_answer(running, path, f"Another story, number {number}?")) > _TOKENS
    lines = _lines(stalled.read_on().decode())
    assert _text(path, lines) == expected
    # Its text was joined meanwhile.
    assert len(lines) < _TOKENS


def test_a_client_that_stops_reading_and_disconnects_frees_its_slot(running: Stack) -> None:
    path = "/api/chat"
    stalled = Stalled(running, path, {**_body(path, "A story that is not read?"), **_LOGPROBS})
    assert len(_answer(running, path, "A story that is read?")) > _TOKENS
    assert load_of(running.worker.address).running == 0
    assert "client_left" not in running.frontend.log_text()
    stalled.leave()
    wait_until(lambda: "client_left" in running.frontend.log_text(), _SECONDS, "the client has left")
    line = '"error":"ClientLeft"'
    wait_until(lambda: line in running.worker.log_text(), _SECONDS, "its request is over")
