"""Secrets are in nothing that a deployment keeps or shows: logs, errors, metrics, lists, the database."""

from __future__ import annotations

import asyncio
import itertools
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
from tests.support.certificates import Authority
from tests.support.otlp_sink import otlp_sink
from tests.support.processes import ROOT, Process, free_port, frontend, worker

_TURNS = [{"role": "user", "content": "hello"}]
_PASSWORD = "hunter2-of-the-database"
_COLLECTOR = "hunter3-of-the-collector"
_FOREIGN = "hunter4-of-another-system"
_OWN = {"database password": _PASSWORD, "collector's key": _COLLECTOR, "another system's key": _FOREIGN}
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
    return {**made, **_OWN}


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> str:
    return f"sqlite:///{tmp_path_factory.mktemp('secrets') / 'keys.sqlite3'}"


@pytest.fixture(scope="module")
def kept(database: str, secrets: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Kept:
    """After requests and mistakes of all kinds, and the end of the worker in the middle of an answer."""
    folder = tmp_path_factory.mktemp("logs")
    kept = Kept(dict(secrets))
    with otlp_sink() as sink, pytest.MonkeyPatch.context() as environment:
        environment.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://{sink.address}")
        environment.setenv("OTEL_EXPORTER_OTLP_HEADERS", f"api-key={_COLLECTOR}")
        environment.setenv("OTEL_BSP_SCHEDULE_DELAY", "200")
        _run(folder, database, kept)
        assert {"drover-frontend", "drover-worker"} <= {span.service for span in sink.spans()}
        kept.add("traces", b"".join(sink.payloads))
    for log in folder.glob("*.log"):
        kept.add(f"log of {log.stem}", log.read_bytes())
    for file in Path(database.removeprefix("sqlite:///")).parent.iterdir():
        kept.add(f"file {file.name}", file.read_bytes())
    _start_with_wrong_files(folder, kept)
    return kept


def _run(folder: Path, database: str, kept: Kept) -> None:
    """Both tiers, with one frontend whose database is away."""
    scrape = f"127.0.0.1:{free_port()}"
    away = f"postgresql://drover:{_PASSWORD}@127.0.0.1:{free_port()}/drover"
    mounted = folder / "keys"
    mounted.mkdir()
    (mounted / "other").write_text(_FOREIGN)
    slow = ("--sim-decode-step-base-ms", "50", "--metrics-listen", scrape)
    with ExitStack() as running:
        engine = running.enter_context(
            worker(folder / "worker.log", "--engine", "simulator", "--model", "sim", *slow, *_LOG)
        )
        own = ("--keys-file", str(mounted), *_LOG)
        main, lonely = [
            running.enter_context(
                frontend(folder / f"{name}.log", [engine.address], "--database-url", url, *own)
            )
            for name, url in (("frontend", database), ("without-database", away))
        ]
        asyncio.run(_make_mistakes(main.address, kept, _OF_CLIENTS))
        asyncio.run(_make_mistakes(lonely.address, kept, _OF_CLIENTS[:1]))
        with httpx.Client(base_url=f"http://{main.address}", timeout=30) as http:
            _look_around(http, kept)
            kept.add("worker's metrics", httpx.get(f"http://{scrape}/metrics").content)
            _lose_the_worker(http, engine, kept)
    kept.add("keys list", _command("keys", "list", "--database-url", database))
    kept.add("keys list", _command("keys", "list", "--database-url", away, "--json"))


def _lose_the_worker(http: httpx.Client, engine: Process, kept: Kept) -> None:
    chat = {"model": "sim", "messages": _TURNS}
    with http.stream("POST", "/api/chat", json=chat, headers=bearer(kept.secrets["user"])) as streamed:
        lines = streamed.iter_lines()
        next(lines)
        engine.signal(signal.SIGKILL)
        kept.add("an answer that broke off", "".join(lines).encode())
    for whose in _OF_CLIENTS:
        answer = http.post("/api/chat", json=chat, headers=bearer(kept.secrets[whose]))
        kept.add("answers without a worker", answer.content)


def _start_with_wrong_files(folder: Path, kept: Kept) -> None:
    """The key in the certificate's place, and a list of keys that cannot be read."""
    files = Authority.make(folder).sign(folder / "tls")
    key = files.key.read_text().splitlines()
    kept.secrets["TLS key"] = max(key, key=len)
    swapped = ("--tls-certificate", str(files.key), "--tls-key", str(files.certificate))
    broken = folder / "keys.json"
    broken.write_text(f'[{{"name": "x", "secret": "{_FOREIGN}"}}, {{"name": ')
    invalid = folder / "invalid.json"
    invalid.write_text(f'[{{"name": "x", "role": "{_FOREIGN}"}}]')
    for flags in (swapped, ("--keys-file", str(broken)), ("--keys-file", str(invalid))):
        address = f"127.0.0.1:{free_port()}"
        refused = _command("--listen", address, "--database-url", f"sqlite:///{folder}/x.sqlite3", *flags)
        assert refused
        kept.add("refused starts", refused)


def _command(*arguments: str) -> bytes:
    ran = subprocess.run(
        [sys.executable, "-m", "frontend", *arguments],
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
    paths = ("/metrics", "/api/tags", "/api/ps", "/openapi.json", "/v1/models", "/api/usage")
    for path in (*paths, "/api/usage?format=csv", "/api/queue?id=x"):
        answer = http.get(path, headers=admin)
        assert answer.status_code in (200, 404), path
        kept.add(path, answer.content)
    other = _FOREIGN
    for headers in (bearer(other), {"x-api-key": other}):
        assert http.get("/api/tags", headers=headers).status_code == 200
    for whose in _OF_CLIENTS:
        _log_in(http, kept, kept.secrets[whose])


def _log_in(http: httpx.Client, kept: Kept, secret: str) -> None:
    page = {"x-console-page": "1"}
    for body in ({"key": secret}, {"password": secret}, [secret], f'{{"key": "{secret}'):
        sent = body if isinstance(body, str) else json.dumps(body)
        answer = http.post("/console/login", content=sent, headers=page)
        kept.add("logins", answer.content)
    token = http.cookies.get("drover_console")
    if token is None:
        return
    kept.secrets[f"cookie of {len(kept.secrets)}"] = token
    for path in ("/console/session", "/console/models", "/console/keys", "/console/usage"):
        kept.add(path, http.get(path).content)
    with http.stream("GET", "/console/events") as events:
        kept.add("/console/events", "".join(itertools.islice(events.iter_text(), 2)).encode())
    http.post("/console/logout", headers=page)
    http.cookies.clear()


def test_a_secret_would_be_found(kept: Kept) -> None:
    logs = b"".join(text for name, text in kept.texts.items() if name.startswith("log of"))
    statuses = {json.loads(line).get("status") for line in logs.splitlines() if line.startswith(b"{")}
    assert {200, 400, 401, 403, 404} <= statuses
    assert b"Connection refused" in kept.texts["log of without-database"]
    assert b"alice" in kept.texts["keys list"]
    assert b"alice" in kept.texts["/console/keys"]
    assert b"sim" in kept.texts["/console/events"]
    assert b"sim" in kept.texts["traces"]
    assert any(whose.startswith("cookie") for whose in kept.secrets)
    assert kept.texts["refused starts"].count(b"cannot") >= 1

    for whose, secret in kept.secrets.items():
        changed = Kept(kept.secrets, {"log": b"x" + secret.encode() + b"y"})
        assert changed.leaks() == [(whose, "log")]
    for name in ("", "x", "me", "user"):
        basic = b64encode(f"{name}:{kept.secrets['user']}".encode())
        assert Kept(kept.secrets, {"log": basic}).leaks() == [("user", "log")]


def test_no_secret_is_kept_or_shown(kept: Kept) -> None:
    assert kept.leaks() == []
