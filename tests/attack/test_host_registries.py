"""Registries that lie, never end, lead elsewhere, and name files outside the store."""

from __future__ import annotations

import asyncio
import hashlib
import json
from pathlib import Path

import httpx
import pytest

from engine_worker.host.store.manifest import MODEL
from tests.attack.asking import Refusal, asking, refused
from tests.attack.figures import Figures
from tests.attack.host_leftovers import ESCAPED
from tests.attack.host_scene import hosted
from tests.fakes.hostile_source import Answer, Exchange, HostileSource, serving

_DATA = b"these are no weights"
_MANY = 5000
_TRICKLE_SECONDS = 8.0


def _digest(data: bytes = _DATA) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def _layer(**fields: object) -> dict[str, object]:
    return {"mediaType": MODEL, "digest": _digest(), "size": len(_DATA), **fields}


def _titled(title: object) -> dict[str, object]:
    return _layer(annotations={"org.opencontainers.image.title": title})


_MANIFESTS: dict[str, object] = {
    "no-layers": {},
    "empty": {"layers": []},
    "a-list": [],
    "layers-are-text": {"layers": "x"},
    "negative": {"layers": [_layer(size=-1)]},
    "fraction": {"layers": [_layer(size=1.5)]},
    "beyond-numbers": {"layers": [_layer(size=2**70)]},
    "absurd": {"layers": [_layer(size=2**63 - 1)]},
    "large": {"layers": [_layer(size=2**43)]},
    "text-size": {"layers": [_layer(size="5")]},
    "no-digest": {"layers": [_layer(digest="")]},
    "digest-leads-out": {"layers": [_layer(digest=f"sha256:../../../{ESCAPED}")]},
    "digest-as-path": {"layers": [_layer(digest=f"../../{ESCAPED}")]},
    "config-leads-out": {"layers": [], "config": _layer(digest=f"sha256:{'/..' * 32}")},
    "title-leads-out": {"layers": [_titled(f"../../../{ESCAPED}")]},
    "title-is-absolute": {"layers": [_titled(f"/tmp/{ESCAPED}")]},
    "title-is-hidden": {"layers": [_titled(f".{ESCAPED}")]},
    "title-is-long": {"layers": [_titled(ESCAPED * 1000)]},
    "title-has-a-nul": {"layers": [_titled(f"{ESCAPED}\0.json")]},
    "title-is-no-text": {"layers": [_titled({"../": ESCAPED})]},
    "type-leads-out": {"layers": [_layer(mediaType=f"../../../{ESCAPED}")]},
    "type-is-long": {"layers": [_layer(mediaType="x" * 100_000)]},
    "type-is-no-text": {"layers": [_layer(mediaType=["x"])]},
    "simulated": {"layers": [_layer(mediaType="application/vnd.drover.simulated")]},
    "many-layers": {"layers": [_layer(digest=f"sha256:{n:064x}") for n in range(_MANY)]},
    "one-layer-often": {"layers": [_layer()] * 4096},
}
_DEEP = b'{"layers":' + b"[" * 200_000


async def _nested(exchange: Exchange) -> None:
    await exchange.answer(_DEEP)


async def _endless(exchange: Exchange) -> None:
    await exchange.endless()


async def _endless_unfound(exchange: Exchange) -> None:
    await exchange.endless(404)


async def _endless_headers(exchange: Exchange) -> None:
    await exchange.repeat(b"x-more: " + b"y" * 4000 + b"\r\n", b"HTTP/1.1 200 OK\r\n")


async def _short_headers(exchange: Exchange) -> None:
    await exchange.repeat(b"x: y\r\n" * 1000, b"HTTP/1.1 200 OK\r\n")


async def _long_header(exchange: Exchange) -> None:
    await exchange.repeat(b"y" * 65536, b"HTTP/1.1 200 OK\r\nx-long: ")


async def _not_http(exchange: Exchange) -> None:
    await exchange.repeat(b"\0\xff" * 32768)


async def _circle(exchange: Exchange) -> None:
    await exchange.answer(b"", 307, f"location: {exchange.base}{exchange.path}")


async def _to_a_file(exchange: Exchange) -> None:
    await exchange.answer(b"", 302, "location: file:///etc/passwd")


async def _to_a_user(exchange: Exchange) -> None:
    await exchange.answer(b"", 302, f"location: http://user:secret@{exchange.base[7:]}/")


async def _to_nonsense(exchange: Exchange) -> None:
    await exchange.answer(b"", 302, "location: http://[::1:bad")


async def _nothing(exchange: Exchange) -> None:
    """The connection is closed."""


def _manifest(document: object) -> Answer:
    async def answer(exchange: Exchange) -> None:
        await exchange.json(document)

    return answer


def _asks(realm: str) -> Answer:
    async def answer(exchange: Exchange) -> None:
        where = f'www-authenticate: Bearer realm="{realm.format(base=exchange.base)}",service="x"'
        await exchange.answer(b"", 401, where)

    return answer


async def _asks_a_lot(exchange: Exchange) -> None:
    """Each header as long as the library takes it."""
    await exchange.answer(b"", 401, *[f"www-authenticate: Bearer {'a' * 8000}"] * 100)


def _gives(body: bytes) -> Answer:
    async def answer(exchange: Exchange) -> None:
        await exchange.answer(body)

    return answer


_ANSWERS: dict[str, Answer] = {
    "nested": _nested,
    "endless": _endless,
    "endless-404": _endless_unfound,
    "endless-headers": _endless_headers,
    "short-headers": _short_headers,
    "long-header": _long_header,
    "not-http": _not_http,
    "circle": _circle,
    "to-a-file": _to_a_file,
    "to-a-user": _to_a_user,
    "to-nonsense": _to_nonsense,
    "nothing": _nothing,
    "asks-a-lot": _asks_a_lot,
    "asks-a-file": _asks("file:///etc/passwd"),
    "asks-at-no-address": _asks("http://"),
    "token-endless": _asks("{base}/token/endless"),
    "token-headers": _asks("{base}/token/headers"),
    "token-nested": _asks("{base}/token/nested"),
    "token-injects": _asks("{base}/token/injects"),
    "token-again": _asks("{base}/token/good"),
    **{kind: _manifest(document) for kind, document in _MANIFESTS.items()},
}
_TOKENS: dict[str, Answer] = {
    "/token/endless": _endless,
    "/token/headers": _endless_headers,
    "/token/nested": _gives(b"[" * 60_000),
    "/token/injects": _gives(json.dumps({"token": f"x\r\nx-{ESCAPED}: 1"}).encode()),
    "/token/good": _gives(b'{"token": "t"}'),
}
_BLOBS: dict[str, Answer] = {
    "endless": _endless,
    "longer": _gives(_DATA * 2),
    "other-bytes": _gives(_DATA[::-1]),
    "not-there": _endless_unfound,
    "circle": _circle,
    "to-a-file": _to_a_file,
    "short-headers": _short_headers,
    "endless-headers": _endless_headers,
    "asks-a-lot": _asks_a_lot,
}


async def _pulled(url: str, names: list[str], host: str) -> dict[str, Refusal]:
    """Streamed and not, all at once."""
    async with asking(url) as http:
        refusals = await asyncio.gather(
            *(
                refused(http, "/api/pull", {"model": f"{host}/team/{name}", "stream": bool(number % 2)})
                for number, name in enumerate(names)
            )
        )
    return dict(zip(names, refusals, strict=True))


async def test_manifests_of_a_hostile_registry(tmp_path: Path, figures: Figures) -> None:
    async with serving(HostileSource(_ANSWERS, {"one-layer-often": _gives(_DATA)}, _TOKENS)) as source:

        async def attack(port: int) -> dict[str, Refusal]:
            return await _pulled(f"http://127.0.0.1:{port}", list(_ANSWERS), "evil.example")

        sources = (f"evil.example={source.url}",)
        async with hosted(tmp_path, figures, sources, rehearsed=attack) as scene:
            refusals = await attack(scene.port)
        figures.notes.append(f"{len(refusals)} kinds of manifests were refused")
        assert "needs" in refusals["large"].error
        assert "redirects more than" in refusals["circle"].error


@pytest.mark.parametrize("as_config", [False, True], ids=["layer", "config"])
async def test_files_of_a_hostile_registry(tmp_path: Path, figures: Figures, as_config: bool) -> None:
    # A file of a digest of its own: two pulls do not write one file at once.
    layers = {kind: _layer(digest=_digest(kind.encode())) for kind in _BLOBS}
    manifests = {
        kind: _manifest({"layers": [], "config": layer} if as_config else {"layers": [layer]})
        for kind, layer in layers.items()
    }
    async with serving(HostileSource(manifests, _BLOBS)) as source:

        async def attack(port: int) -> dict[str, Refusal]:
            return await _pulled(f"http://127.0.0.1:{port}", list(_BLOBS), "evil.example")

        sources = (f"evil.example={source.url}",)
        async with hosted(tmp_path, figures, sources, rehearsed=attack) as scene:
            refusals = await attack(scene.port)
        assert "digest mismatch" in refusals["other-bytes"].error
        assert "more than the" in refusals["endless"].error


async def test_a_source_on_the_internet_that_leads_into_private_networks(
    tmp_path: Path, figures: Figures, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A proxy stands in for the Internet: it answers for a name that is at no private address."""
    inside = ("127.0.0.1:1", "10.0.0.1", "[::1]:1", "169.254.169.254", "localhost:1", "0.0.0.0", "2130706433")
    answers: dict[str, Answer] = {}
    for number, address in enumerate(inside):

        async def lead(exchange: Exchange, address: str = address) -> None:
            await exchange.answer(b"", 307, f"location: http://{address}/{ESCAPED}")

        answers[f"to-{number}"] = lead
        answers[f"token-{number}"] = _asks(f"http://{address}/{ESCAPED}")
    async with serving(HostileSource(answers)) as source:
        monkeypatch.setenv("http_proxy", source.url)
        async with hosted(tmp_path, figures, ("evil.invalid=http://evil.invalid",)) as scene:
            refusals = await _pulled(scene.url, list(answers), "evil.invalid")
        assert all("not public" in refusal.error for refusal in refusals.values()), refusals
        assert not [url for url in source.asked if ESCAPED in url]


async def test_registries_that_trickle(tmp_path: Path, figures: Figures) -> None:
    """They are left by who has waited long enough; then nothing of the pull is left."""

    async def headers(exchange: Exchange) -> None:
        await exchange.repeat(b"x", b"HTTP/1.1 200 OK\r\nx-slow: ", 0.2)

    async def body(exchange: Exchange) -> None:
        await exchange.repeat(b"x", b"HTTP/1.1 200 OK\r\ncontent-length: 10000\r\n\r\n", 0.2)

    async def waiting(exchange: Exchange) -> None:
        await exchange.repeat(b"HTTP/1.1 102 Processing\r\n\r\n" * 100)

    answers: dict[str, Answer] = {"headers": headers, "body": body, "waiting": waiting}
    large = _manifest({"layers": [_layer(size=10_000)]})
    manifests = {**answers, **{f"layer-{kind}": large for kind in answers}}
    blobs = {f"layer-{kind}": answer for kind, answer in answers.items()}

    async def wait(http: httpx.AsyncClient, name: str) -> None:
        async with asyncio.timeout(_TRICKLE_SECONDS):
            await refused(http, "/api/pull", {"model": f"evil.example/team/{name}"})

    async def attack(port: int) -> list[BaseException | None]:
        async with asking(f"http://127.0.0.1:{port}") as http:
            return await asyncio.gather(*(wait(http, name) for name in manifests), return_exceptions=True)

    async def twice(port: int) -> None:
        """What a read of thousands of short answers takes is what the allocator keeps."""
        await attack(port)
        await attack(port)

    async with (
        serving(HostileSource(manifests, blobs)) as source,
        hosted(tmp_path, figures, (f"evil.example={source.url}",), rehearsed=twice) as scene,
    ):
        left = await attack(scene.port)
    figures.notes.append(f"{len(left)} pulls were left")
    assert all(isinstance(each, TimeoutError) for each in left), left
