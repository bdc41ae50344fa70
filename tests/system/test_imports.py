"""A process imports nothing that its configuration does not use; packages take memory and start-up time."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import httpx
import pytest

from engine_worker.health import is_serving
from frontend.health import is_ok
from tests.support.processes import free_port, launched
from tests.support.waiting import wait_until

_START_SECONDS = 60.0
_LINE = re.compile(r"^import time: +\d+ \| +\d+ \| +([\w.]+)$", re.MULTILINE)
_OTHER_DATABASES = {"asyncpg", "sqlalchemy", "alembic"}
_OTHER_PLACES = {
    "httpx",
    "frontend.routing.backends.ollama.worker",
    "frontend.routing.discovery.kubernetes_api",
}
_RARELY_ASKED_FOR = {
    *("frontend.openapi.document", "drover.go_template.parser", "frontend.api.openai.multipart_form"),
    *("zstandard", "email.policy"),
}
# FastAPI imports OpenTelemetry's API.
_TRACING = {"opentelemetry.sdk", "opentelemetry.sdk.trace", "opentelemetry.exporter", "drover.tracing.span"}
_OF_OTHER_PROGRAMS = {"engine_worker", "ollama", "jinja2", "cryptography", "PIL", "numpy", "torch"}
_OTHER_ENGINES = {
    *("engine_worker.engines.llamacpp", "engine_worker.engines.sglang"),
    *("sglang", "torch", "transformers", "xllamacpp", "gguf", "llguidance", "aiohttp", "numpy"),
}


def _traced(*command: str) -> Sequence[str]:
    return ["-X", "importtime", *command]


def _imported(log: Path) -> set[str]:
    found = set(_LINE.findall(log.read_text()))
    assert "asyncio" in found
    return found


def _frontend(workers: str, address: str, database: str) -> Sequence[str]:
    flags = ("--listen", address, "--workers", workers, "--database-url", database)
    return _traced("-m", "frontend", *flags)


def test_both_tiers_import_only_what_a_simulated_chat_uses(tmp_path: Path) -> None:
    worker, frontend = f"127.0.0.1:{free_port()}", f"127.0.0.1:{free_port()}"
    served = _traced("-m", "engine_worker", "--engine", "simulator", "--model", "sim", "--listen", worker)
    spoken = _frontend(worker, frontend, f"sqlite:///{tmp_path / 'presets.sqlite3'}")
    with launched(served, worker, tmp_path / "w.log"), launched(spoken, frontend, tmp_path / "f.log"):
        wait_until(lambda: is_serving(worker), _START_SECONDS, "the worker is ready")
        wait_until(lambda: is_ok(f"http://{frontend}/readyz"), _START_SECONDS, "the frontend is ready")
        body = {"model": "sim", "messages": [{"role": "user", "content": "hello"}], "stream": False}
        assert httpx.post(f"http://{frontend}/api/chat", json=body).json()["done"] is True
        assert httpx.get(f"http://{frontend}/metrics").is_success
    unused = _OTHER_DATABASES | _OTHER_PLACES | _RARELY_ASKED_FOR | _TRACING | _OF_OTHER_PROGRAMS
    assert _imported(tmp_path / "f.log") & unused == set()
    not_for_workers = _OTHER_ENGINES | _TRACING | {"frontend", "jinja2", "PIL", "opentelemetry"}
    assert _imported(tmp_path / "w.log") & not_for_workers == set()


@pytest.mark.parametrize(
    ("workers", "database", "wanted"),
    [
        ("ollama:http://127.0.0.1:9/m", "sqlite:///:memory:", "httpx"),
        ("127.0.0.1:9", "postgresql://user@127.0.0.1:9/none", "asyncpg"),
    ],
)
def test_modules_of_a_configuration_are_imported_before_the_first_request(
    workers: str, database: str, wanted: str, tmp_path: Path
) -> None:
    """A package that is missing is then an error of the start."""
    address = f"127.0.0.1:{free_port()}"
    with launched(_frontend(workers, address, database), address, tmp_path / "f.log"):
        wait_until(lambda: is_ok(f"http://{address}/healthz"), _START_SECONDS, "the frontend answers")
        assert wanted in _imported(tmp_path / "f.log")
