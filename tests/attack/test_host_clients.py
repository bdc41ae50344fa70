"""Clients that send names which no model has, pull hundreds at once, and set odd keep-alives."""

from __future__ import annotations

import asyncio
from collections import Counter
from pathlib import Path

import httpx

from tests.attack.asking import asking, refusal_of, refused
from tests.attack.figures import Figures
from tests.attack.host_leftovers import ESCAPED
from tests.attack.host_scene import hosted
from tests.chaos.fleet import MODEL
from tests.fakes.hostile_source import Exchange, HostileSource, serving

_DIGEST = f"sha256:{'0' * 64}"
_NAMES = (
    "", " ", ".", "..", "/", "//", ":", "../../../escaped", "team/../../escaped", "evil.example/../escaped",
    "evil.example/team/..:latest", "evil.example/team/x:../escaped", "/etc/escaped", "..\\..\\escaped",
    "team/escaped\0", "%2e%2e%2fescaped", "file:///etc/escaped", "http://evil.example", "x/y/z/escaped",
    "\U0001f999", "e\u0301scaped", "\u202eescaped", "\ufb01le", "escaped\n", "escaped:la test", "-escaped",
    "a" * 100_000, f"x:{'y' * 10_000}", f"{'h' * 1000}/team/escaped", "evil.example:x/..", "\ud800",
)  # fmt: skip
_KEEP_ALIVES = (
    b"1e308", b"-1e308", b"1e999", b"NaN", b"Infinity", b"-Infinity", b"9223372036854775808",
    b"-9223372036854775809",
    b"9" * 4000, b'"NaN"', b'"inf"', b'"1e9h"', b'"99999999999999h"', b'"-99999999999999h"',
    b'"' + b"1h" * 5000 + b'"', b'"\\u0000"', b'""', b'"5 parsecs"', b"[]", b"{}", b"true",
    b"[" * 500 + b"]" * 500,
)  # fmt: skip
_MODEL = b'"model":"%b","stream":false,"options":{"num_predict":4}' % MODEL.encode()
_ASKED = (
    ("/api/generate", b'"prompt":"x"'),
    ("/api/chat", b'"messages":[{"role":"user","content":"x"}]'),
)
_PULLS = 300
_SECONDS = 6.0


async def test_names_of_models(tmp_path: Path, figures: Figures) -> None:
    """Allowed sources, so that only the names are wrong."""

    async def attack(port: int) -> Counter[int]:
        seen: Counter[int] = Counter()
        async with asking(f"http://127.0.0.1:{port}") as http:
            for name in _NAMES:
                for path, more in (
                    ("/api/pull", {}),
                    ("/api/push", {}),
                    ("/api/create", {"files": {"x.gguf": _DIGEST}}),
                    ("/api/delete", {}),
                ):
                    method = "DELETE" if path == "/api/delete" else "POST"
                    for stream in (False, True):
                        body = {"model": name, "stream": stream, **more}
                        seen[(await refused(http, path, body, method)).status] += 1
        return seen

    async with serving(HostileSource()) as source:
        async with hosted(tmp_path, figures, (f"evil.example={source.url}",), rehearsed=attack) as scene:
            figures.notes.append(f"statuses {dict(await attack(scene.port))}")
        assert not source.asked


async def test_hundreds_of_pulls_at_once(tmp_path: Path, figures: Figures) -> None:
    """Of different models, from a registry that never answers. Those that are too many are refused."""

    async def hang(exchange: Exchange) -> None:
        await exchange.repeat(b" ", b"HTTP/1.1 200 OK\r\ncontent-length: 1000000\r\n\r\n", 1)

    names = [f"evil.example/team/m{number}" for number in range(_PULLS)]

    async def pull(http: httpx.AsyncClient, name: str) -> str:
        try:
            async with asyncio.timeout(_SECONDS):
                return (await refused(http, "/api/pull", {"model": name, "stream": False})).error
        except TimeoutError:
            return ""

    async def attack(port: int) -> list[str]:
        async with asking(f"http://127.0.0.1:{port}") as http:
            return await asyncio.gather(*(pull(http, name) for name in names))

    async with (
        serving(HostileSource(dict.fromkeys((f"m{n}" for n in range(_PULLS)), hang))) as source,
        hosted(tmp_path, figures, (f"evil.example={source.url}",), rehearsed=attack) as scene,
    ):
        errors = await attack(scene.port)
    figures.notes.append(f"of {_PULLS} pulls {errors.count('')} went on")
    assert errors.count("") == 64
    assert {error for error in errors if error and "pulls" not in error} == set()


async def test_keep_alives(tmp_path: Path, figures: Figures) -> None:
    async def attack(port: int) -> Counter[int]:
        seen: Counter[int] = Counter()
        async with asking(f"http://127.0.0.1:{port}") as http:
            for value in _KEEP_ALIVES:
                for path, text in _ASKED:
                    body = b"{%b,%b,%b}" % (_MODEL, text, b'"keep_alive":%b' % value)
                    answer = await http.post(path, content=body)
                    seen[answer.status_code] += 1
                    if answer.status_code != 200:
                        assert refusal_of(answer) is not None
        return seen

    async with hosted(tmp_path, figures, rehearsed=attack) as scene:
        figures.notes.append(f"statuses {dict(await attack(scene.port))}")
        async with asking(scene.url) as http:
            listed = (await http.get("/api/ps")).json()["models"]
        assert [each["name"] for each in listed] == [f"{MODEL}:latest"]
        assert ESCAPED not in str(listed)
