"""Secrets are in nothing that a deployment keeps or shows: logs, errors, metrics, lists, the database."""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess
import sys
from base64 import b64encode
from collections.abc import Iterable
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import pytest

from frontend.access.key import Role
from frontend.access.secret import new_id, new_secret
from tests.support.access_keys import add_key, bearer
from tests.support.processes import ROOT, free_port, frontend, worker

_TURNS = [{"role": "user", "content": "hello"}]
_PASSWORD = "hunter2-of-the-database"
_OF_CLIENTS = ("user", "admin", "expired", "of another server")
_LOG = ("--log-level", "debug", "--log-format", "json")


@dataclass
class Kept:
    """All that a run leaves: what it shows by its name, and the secrets that it has used."""

    secrets: dict[str, str]
    texts: dict[str, bytes] = field(default_factory=dict)

    def add(self, name: str, text: bytes) -> None:
        self.texts[name] = self.texts.get(name, b"") + text

    def leaks(self) -> list[tuple[str, str]]:
        """Each secret with where it was found."""
        return [
            (whose, where)
            for where, text in self.texts.items()
            for whose, secret in self.secrets.items()
            if any(form in text for form in _forms(secret.encode()))
        ]


def _forms(secret: bytes) -> list[bytes]:
    """As it is, and within base64, which depends on how much text is before it."""
    return [secret, *(b64encode(b" " * before + secret)[4:-4] for before in range(3))]


@pytest.fixture(scope="module")
def secrets(database: str) -> dict[str, str]:
    made = {
        "user": asyncio.run(add_key(database, "alice", models=("sim",))),
        "admin": asyncio.run(add_key(database, "root", role=Role.ADMIN)),
        "expired": asyncio.run(add_key(database, "old", expires_unix=1.0)),
        "of another server": new_secret(new_id()),
    }
    return {**made, "database password": _PASSWORD}


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> str:
    return f"sqlite:///{tmp_path_factory.mktemp('secrets') / 'keys.sqlite3'}"


@pytest.fixture(scope="module")
def kept(database: str, secrets: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Kept:
    """After requests and mistakes of all kinds, and the end of the worker in the middle of an answer."""
    folder = tmp_path_factory.mktemp("logs")
    kept = Kept(secrets)
    scrape = f"127.0.0.1:{free_port()}"
    unreachable = f"postgresql://drover:{_PASSWORD}@127.0.0.1:{free_port()}/drover"
    slow = ("--sim-decode-step-base-ms", "50", "--metrics-listen", scrape)
    with ExitStack() as running:
        engine = running.enter_context(
            worker(folder / "worker.log", "--engine", "simulator", "--model", "sim", *slow, *_LOG)
        )
        fronts = [
            running.enter_context(
                frontend(folder / f"{name}.log", [engine.address], "--database-url", url, *_LOG)
            )
            for name, url in (("frontend", database), ("without-database", unreachable))
        ]
        asyncio.run(_make_mistakes(fronts[0].address, kept, _OF_CLIENTS))
        asyncio.run(_make_mistakes(fronts[1].address, kept, _OF_CLIENTS[:1]))
        with httpx.Client(base_url=f"http://{fronts[0].address}", timeout=30) as http:
            _look_around(http, kept)
            kept.add("worker's metrics", httpx.get(f"http://{scrape}/metrics").content)
            engine.signal(signal.SIGKILL)
            for secret in secrets.values():
                answer = http.post(
                    "/api/chat", json={"model": "sim", "messages": _TURNS}, headers=bearer(secret)
                )
                kept.add("answers without a worker", answer.content)
    for name in ("worker", "frontend", "without-database"):
        kept.add(f"log of {name}", (folder / f"{name}.log").read_bytes())
    for file in Path(database.removeprefix("sqlite:///")).parent.iterdir():
        kept.add(f"file {file.name}", file.read_bytes())
    for url in (database, unreachable):
        for form in ((), ("--json",)):
            kept.add("keys list", _command("list", "--database-url", url, *form))
    return kept


def _command(*arguments: str) -> bytes:
    ran = subprocess.run(
        [sys.executable, "-m", "frontend", "keys", *arguments],
        cwd=ROOT,
        capture_output=True,
        timeout=60,
        check=False,
    )
    return ran.stdout + ran.stderr


def _places(secret: str) -> list[dict[str, str]]:
    """Headers with the secret where it belongs, and where it does not."""
    encoded = [b64encode(text.encode()).decode() for text in (f"x:{secret}", f"{secret}:x")]
    return [
        bearer(secret),
        {"x-api-key": secret},
        *({"authorization": f"Basic {each}"} for each in encoded),
        {"authorization": secret},
        {"authorization": f"Token {secret}"},
        {"authorization": f"Bearer {secret} {secret}"},
        {**bearer(secret), "x-api-key": secret},
        {"cookie": f"key={secret}"},
        {**bearer(secret), "x-request-id": secret},
        {**bearer(secret), "x-drover-priority": secret},
        {**bearer(secret), "x-forwarded-for": secret, "user-agent": secret},
    ]


async def _make_mistakes(address: str, kept: Kept, whose: Iterable[str]) -> None:
    """At the same time: an answer to a wrong key takes a quarter of a second."""
    limits = httpx.Limits(max_connections=60)
    async with (
        httpx.AsyncClient(base_url=f"http://{address}", timeout=60, limits=limits) as http,
        asyncio.TaskGroup() as group,
    ):
        for secret in map(kept.secrets.__getitem__, whose):
            group.create_task(_misplace(http, kept, secret))
            group.create_task(_misdirect(http, kept, secret))
            group.create_task(_break_off(http, kept, secret))


async def _misplace(http: httpx.AsyncClient, kept: Kept, secret: str) -> None:
    chat = {"model": "sim", "messages": _TURNS, "options": {"num_predict": 2}, "stream": False}
    requests = (
        ("POST", "/api/chat", chat),
        ("POST", "/v1/messages", {**chat, "max_tokens": "many"}),
        ("POST", "/v1/chat/completions", {**chat, "model": "other"}),
        ("DELETE", "/api/delete", {"model": "none"}),
        ("GET", "/metrics", None),
        ("PUT", "/api/nothing", None),
    )
    answers = await asyncio.gather(
        *(
            http.request(method, path, json=body, headers=headers)
            for headers in _places(secret)
            for method, path, body in requests
        )
    )
    for answer in answers:
        kept.add(f"answers of {answer.url.path}", answer.content + str(answer.headers.multi_items()).encode())


async def _misdirect(http: httpx.AsyncClient, kept: Kept, secret: str) -> None:
    """In a path, a query or a body."""
    asked = await http.post("/api/show", json={"model": secret}, headers=bearer(secret))
    kept.add("answers about a model of that name", asked.content)
    for path in (
        f"/api/tags?key={secret}",
        f"/v1/models/{secret}",
        f"/{secret}",
        f"/api/{secret}/x?{secret}",
    ):
        for headers in ({}, bearer(secret)):
            kept.add("answers of other paths", (await http.get(path, headers=headers)).content)


async def _break_off(http: httpx.AsyncClient, kept: Kept, secret: str) -> None:
    broken = await http.post("/api/generate", content=b'{"model": ', headers=bearer(secret))
    kept.add("answers to broken JSON", broken.content)
    chat = {"model": "sim", "messages": _TURNS}
    async with http.stream("POST", "/api/chat", json=chat, headers=bearer(secret)) as streamed:
        kept.add("streams", (await anext(streamed.aiter_lines())).encode())


def _look_around(http: httpx.Client, kept: Kept) -> None:
    """What an operator sees meanwhile."""
    admin = bearer(kept.secrets["admin"])
    for path in ("/metrics", "/api/queue?id=x", "/api/tags", "/api/ps", "/openapi.json", "/v1/models"):
        answer = http.get(path, headers=admin)
        assert answer.status_code in (200, 404), path
        kept.add(path, answer.content)


def test_a_secret_would_be_found(kept: Kept) -> None:
    logs = b"".join(text for name, text in kept.texts.items() if name.startswith("log of"))
    statuses = {json.loads(line).get("status") for line in logs.splitlines() if line.startswith(b"{")}
    assert {200, 400, 401, 403, 404} <= statuses
    assert b"Connection refused" in kept.texts["log of without-database"]
    assert b"alice" in kept.texts["keys list"]

    for whose, secret in kept.secrets.items():
        changed = Kept(kept.secrets, {"log": b"x" + secret.encode() + b"y"})
        assert changed.leaks() == [(whose, "log")]
    for name in ("", "x", "me", "user"):
        basic = b64encode(f"{name}:{kept.secrets['user']}".encode())
        assert Kept(kept.secrets, {"log": basic}).leaks() == [("user", "log")]


def test_no_secret_is_kept_or_shown(kept: Kept) -> None:
    assert kept.leaks() == []
