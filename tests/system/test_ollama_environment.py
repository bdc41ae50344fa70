"""A frontend configured by Ollama's environment variables: address and origins."""

from __future__ import annotations

import json
import time
from pathlib import Path

import httpx

from frontend.health import is_ok
from tests.support.processes import Process, Stack, free_port, launched

_PAGE = "https://chat.example"
_READY_SECONDS = 30.0


def test_pages_and_hosts(simulated: Stack, tmp_path: Path) -> None:
    address = f"127.0.0.1:{free_port()}"
    command = ["-m", "frontend", "--workers", simulated.worker.address]
    command += ["--database-url", f"sqlite:///{tmp_path / 'presets.sqlite3'}"]
    settings = {"OLLAMA_HOST": f' "http://{address}/" ', "OLLAMA_ORIGINS": _PAGE, "OLLAMA_MODELS": "/nowhere"}
    with launched(command, address, tmp_path / "log", settings=settings) as process:
        _wait_until_ready(process)
        with httpx.Client(base_url=f"http://{address}", timeout=30) as client:
            _chat_streams_to(client, _PAGE)
            preflight = {"origin": _PAGE, "access-control-request-method": "POST"}
            assert client.options("/api/chat", headers=preflight).status_code == 204
            for refused in ({"origin": "https://evil.example"}, {"host": "evil.example"}):
                answer = client.get("/api/tags", headers=refused)
                assert (answer.status_code, answer.content) == (403, b"")
    records = [json.loads(line) for line in process.log_text().splitlines()]
    (warned,) = [each["message"] for each in records if each["logger"] == "drover.settings"]
    assert warned.startswith("OLLAMA_MODELS has no effect: ")
    reasons = [
        (name, record[name])
        for record in records
        for name in ("refused_origin", "refused_host")
        if name in record
    ]
    assert reasons == [("refused_origin", "https://evil.example"), ("refused_host", "evil.example")]


def test_an_address_of_another_machine_is_named_with_all_that_sets_it(tmp_path: Path) -> None:
    settings = {"OLLAMA_HOST": "http://192.0.2.1:11434"}
    with launched(["-m", "frontend"], "", tmp_path / "log", settings=settings) as process:
        assert process.wait(_READY_SECONDS) == 1
    assert "cannot listen on 192.0.2.1:11434" in process.log_text()
    assert "OLLAMA_HOST" in process.log_text()


def test_the_launcher_listens_on_its_port_whatever_clients_are_pointed_at(tmp_path: Path) -> None:
    address = f"127.0.0.1:{free_port()}"
    command = ["-m", "scripts.serve", "--port", address.rpartition(":")[2], "--engine", "simulator"]
    settings = {"OLLAMA_HOST": "https://ollama.example.com", "XDG_STATE_HOME": str(tmp_path)}
    with launched(command, address, tmp_path / "log", settings=settings) as process:
        _wait_until_ready(process)
    assert "Traceback" not in process.log_text()


def _wait_until_ready(process: Process) -> None:
    deadline = time.monotonic() + _READY_SECONDS
    while not is_ok(f"http://{process.address}/readyz"):
        assert process.popen.poll() is None, process.log_text()
        assert time.monotonic() < deadline, process.log_text()
        time.sleep(0.05)


def _chat_streams_to(client: httpx.Client, page: str) -> None:
    body = {"model": "sim", "messages": [{"role": "user", "content": "hello"}], "options": {"num_predict": 3}}
    answer = client.post("/api/chat", json=body, headers={"origin": page})
    assert answer.status_code == 200
    assert answer.headers["access-control-allow-origin"] == page
    assert json.loads(answer.text.splitlines()[-1])["done"] is True
