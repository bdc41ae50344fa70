"""Environment variables, origins and hosts.

| line | asserted by |
|---|---|
| origins and hosts, some | transcripts "origin …", "preflight", "preflight evil", "host evil", "host local" |
| a Bearer token is ignored | transcript "bearer ignored" |
| OLLAMA_HOST and OLLAMA_ORIGINS, quotes and spaces around them | test_ollama_environment::test_pages_and_hosts |
| OLLAMA_HOST's forms, default ports | tests/unit/frontend/test_listen_address.py |
| OLLAMA_NUM_PARALLEL; numbers and booleans that are none; OLLAMA_DEBUG | tests/unit/drover/test_ollama_environment.py, tests/unit/engine_worker/test_settings.py, tests/unit/frontend/test_settings.py |

Not here: OLLAMA_MAX_LOADED_MODELS, OLLAMA_MODELS, OLLAMA_NOPRUNE (a worker has one model; there is no store),
OLLAMA_FLASH_ATTENTION, OLLAMA_KV_CACHE_TYPE, OLLAMA_GPU_OVERHEAD, OLLAMA_SCHED_SPREAD (engines' own flags),
OLLAMA_NO_CLOUD, OLLAMA_REMOTES, OLLAMA_CLOUD_BASE_URL, OLLAMA_AUTH (no cloud), OLLAMA_DEBUG_LOG_REQUESTS (bodies are
never logged), OLLAMA_GO_TEMPLATE, OLLAMA_MAX_TRANSFER_STREAMS, OLLAMA_EDITOR, OLLAMA_NOHISTORY (of upstream's parts).
"""  # noqa: E501 - a row of the table is one line

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime, timedelta

import httpx
import pytest

from engine_worker.health import is_serving
from frontend.health import is_ok
from tests.contract.fleet import FleetProcesses
from tests.contract.ollama_requests import INFERENCE, answered, ask, assert_refused, inference
from tests.support.processes import free_port, launched
from tests.support.waiting import wait_until

_READY_SECONDS = 30.0
# Answers of 400 tokens: a request that comes a little later must still find them running.
_SIMULATOR = (
    *("-m", "engine_worker", "--engine=simulator", "--model=sim", "--sim-running-limit=1"),
    *("--sim-answer-tokens-min=400", "--sim-answer-tokens-max=400"),
)
_WORKER_SETTINGS = {
    "OLLAMA_KEEP_ALIVE": ' "17m" ',
    "OLLAMA_CONTEXT_LENGTH": "'512'",
    "OLLAMA_MAX_QUEUE": "0",
    "OLLAMA_LOAD_TIMEOUT": "300ms",
}


@pytest.fixture(scope="module")
def settled(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    """Both tiers set up by OLLAMA_* alone: the frontend on all interfaces, for all pages."""
    folder = tmp_path_factory.mktemp("environment")
    address, port = f"127.0.0.1:{free_port()}", free_port()
    listens = ("--listen", address, "--sim-load-ms", "1500")
    database = ("--database-url", f"sqlite:///{folder / 'presets.sqlite3'}")
    frontend_settings = {"OLLAMA_HOST": f"0.0.0.0:{port}", "OLLAMA_ORIGINS": "*", "OLLAMA_MAX_QUEUE": "0"}
    url = f"http://127.0.0.1:{port}"
    with ExitStack() as processes:
        begin = processes.enter_context
        begin(launched([*_SIMULATOR, *listens], address, folder / "worker.log", settings=_WORKER_SETTINGS))
        wait_until(lambda: is_serving(address), _READY_SECONDS, "the worker serves")
        command = ["-m", "frontend", "--workers", address, *database]
        begin(launched(command, "", folder / "frontend.log", settings=frontend_settings))
        wait_until(lambda: is_ok(f"{url}/readyz"), _READY_SECONDS, "the frontend serves")
        yield begin(httpx.Client(base_url=url, timeout=_READY_SECONDS))


def test_ollama_keep_alive(settled: httpx.Client) -> None:
    answered(ask(settled, "generate", inference("generate", "x", "sim")))
    wait_until(lambda: _minutes_left(settled) == [17], _READY_SECONDS, "17 minutes show")


def test_ollama_context_length(settled: httpx.Client) -> None:
    answered(ask(settled, "generate", inference("generate", "x", "sim")))
    (loaded,) = answered(settled.get("/api/ps"))["models"]
    assert loaded["context_length"] == 512


@pytest.mark.parametrize("path", INFERENCE, ids=["OLLAMA_MAX_QUEUE chat", "OLLAMA_MAX_QUEUE generate"])
def test_the_queue_is_full(settled: httpx.Client, path: str) -> None:
    with _long_answer(settled):
        refused = ask(settled, path, inference(path, "x", "sim"))
    assert_refused(refused, 503, "server busy, please try again.  maximum pending requests exceeded")
    assert refused.headers["retry-after"] == "1"


@contextmanager
def _long_answer(settled: httpx.Client) -> Iterator[None]:
    """It takes the only place, as soon as what the test before has left behind is gone."""
    long = inference("chat", "x", "sim", stream=True, options={"num_predict": 400, "temperature": 0})
    body = json.dumps(long)
    with ExitStack() as answers:
        lines: list[Iterator[str]] = []

        def begins() -> bool:
            answer = answers.enter_context(settled.stream("POST", "/api/chat", content=body))
            # Kept: a dropped iterator would close the answer.
            lines.append(answer.iter_lines())
            return answer.status_code == 200 and bool(next(lines[-1]))

        wait_until(begins, _READY_SECONDS, "the long answer begins")
        yield


def test_ollama_load_timeout(settled: httpx.Client) -> None:
    answered(ask(settled, "generate", {"model": "sim", "keep_alive": 0}))
    wait_until(lambda: not _minutes_left(settled), _READY_SECONDS, "the model leaves")
    refused = ask(settled, "generate", inference("generate", "x", "sim"))
    assert refused.status_code == 504
    assert refused.json()["error"].startswith("the model did not load within 0.3 s")
    # The load continues, and the next request finds the model there.
    wait_until(lambda: len(_minutes_left(settled)) == 1, _READY_SECONDS, "the model comes")


def test_origins_star_is_reported(settled: httpx.Client) -> None:
    answer = settled.get("/api/tags", headers={"origin": "https://any.example"})
    assert (answer.status_code, answer.headers["access-control-allow-origin"]) == (200, "*")


def test_no_host_check_on_all_interfaces(settled: httpx.Client) -> None:
    assert settled.get("/api/version", headers={"host": "evil.example"}).status_code == 200


_ORIGINS = [
    f"{scheme}://{host}{port}"
    for scheme in ("http", "https")
    for host in ("localhost", "127.0.0.1", "0.0.0.0")
    for port in ("", ":3000")
]
_APPS = ["app://x", "file://x", "tauri://localhost", "vscode-webview://y", "vscode-file://z"]
_EXTENSIONS = ["chrome-extension://a", "moz-extension://a", "safari-web-extension://a"]


@pytest.mark.parametrize("origin", [*_ORIGINS, *_APPS, *_EXTENSIONS], ids="allowed {}".format)
def test_built_in_origins(http: httpx.Client, origin: str) -> None:
    answer = http.get("/api/version", headers={"origin": origin})
    assert (answer.status_code, answer.headers["access-control-allow-origin"]) == (200, origin)
    preflight = http.options("/api/chat", headers={"origin": origin, "access-control-request-method": "POST"})
    assert (preflight.status_code, preflight.content) == (204, b"")
    assert preflight.headers["access-control-allow-origin"] == origin


@pytest.mark.parametrize(
    "origin",
    ["null", "https://evil.example", "http://localhost.evil.example", "ftp://localhost", "http://10.0.0.1"],
    ids="not allowed {}".format,
)
@pytest.mark.parametrize("method", ["GET", "POST", "OPTIONS"])
def test_other_origins(http: httpx.Client, origin: str, method: str) -> None:
    path = "/api/tags" if method == "GET" else "/api/chat"
    answer = http.request(method, path, headers={"origin": origin, "access-control-request-method": "POST"})
    assert (answer.status_code, answer.content) == (403, b"")
    assert not [name for name in answer.headers if name.startswith("access-control-")]


@pytest.mark.parametrize("origin", [None, "http://", "https://"], ids="CORS is skipped, {}".format)
def test_no_origin_or_the_servers_own(http: httpx.Client, fleet: FleetProcesses, origin: str | None) -> None:
    headers = {} if origin is None else {"origin": f"{origin}{fleet.frontend.address}"}
    answer = http.get("/api/version", headers=headers)
    assert answer.status_code == 200
    assert not [name for name in answer.headers if name.startswith("access-control-")]


def test_preflight(http: httpx.Client) -> None:
    headers = {"origin": "http://localhost:3000", "access-control-request-method": "POST"}
    answer = http.options("/api/chat", headers=headers)
    allowed = {name.lower() for name in answer.headers["access-control-allow-headers"].split(",")}
    assert answer.headers["access-control-allow-methods"] == "GET,POST,PUT,PATCH,DELETE,HEAD,OPTIONS"
    assert answer.headers["access-control-max-age"] == "43200"
    assert {
        "authorization", "content-type", "user-agent", "accept", "x-requested-with", "openai-beta",
    } <= allowed  # fmt: skip
    assert {"x-stainless-lang", "x-stainless-os", "x-stainless-timeout"} <= allowed


@pytest.mark.parametrize(
    "host",
    ["localhost", "localhost:1", "LOCALHOST", "127.0.0.1", "127.1.2.3:80", "[::1]:80", "0.0.0.0", "10.1.2.3",
     "192.168.0.1", "172.16.0.1", "a.localhost", "box.local", "host.docker.internal", socket.gethostname()],
    ids="host {}".format,
)  # fmt: skip
def test_hosts_that_are_here(http: httpx.Client, host: str) -> None:
    assert http.get("/api/version", headers={"host": host}).status_code == 200


@pytest.mark.parametrize(
    "host",
    ["evil.example", "evil.example:11434", "localhost.evil.example", "8.8.8.8", "172.32.0.1", "local"],
    ids="other host {}".format,
)
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_other_hosts(http: httpx.Client, host: str, method: str) -> None:
    path = "/api/tags" if method == "GET" else "/api/chat"
    answer = http.request(method, path, headers={"host": host}, content="{}" if method == "POST" else None)
    assert (answer.status_code, answer.content) == (403, b"")


@pytest.mark.parametrize("token", ["Bearer x", "Basic eDp4", "Bearer"], ids="authorization {}".format)
def test_there_is_no_authentication(http: httpx.Client, token: str) -> None:
    assert answered(http.get("/api/tags", headers={"authorization": token}))["models"]


def _minutes_left(http: httpx.Client) -> list[int]:
    times = [datetime.fromisoformat(each["expires_at"]) for each in answered(http.get("/api/ps"))["models"]]
    return [round((time - datetime.now(UTC)) / timedelta(minutes=1)) for time in times]
