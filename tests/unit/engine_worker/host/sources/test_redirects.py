"""Where a source may lead, and where not."""

from __future__ import annotations

import asyncio

import pytest
from aiohttp import web

from drover.errors import DroverError, SourceFailed
from engine_worker.host.sources import http
from engine_worker.host.sources.http import SourceClient
from engine_worker.host.sources.redirects import check_target, target_of
from tests.unit.engine_worker.host.sources.registry import FakeRegistry, serving

# Addresses are given as numbers, so that no name has to be resolved.
PUBLIC, INTERNAL = "https://8.8.8.8", "https://10.0.0.1"
PATH = "/v2/team/model/manifests/latest"


@pytest.mark.parametrize(
    ("source", "location", "target"),
    [
        (PUBLIC, "/elsewhere", f"{PUBLIC}/elsewhere"),
        (PUBLIC, "https://1.1.1.1/file?sig=x", "https://1.1.1.1/file?sig=x"),
        (INTERNAL, "https://10.0.0.2/file", "https://10.0.0.2/file"),
        ("http://10.0.0.1", "https://10.0.0.1/file", "https://10.0.0.1/file"),
    ],
)
async def test_storage_elsewhere_is_followed(source: str, location: str, target: str) -> None:
    assert await target_of(source, f"{source}/v2/", location) == target


@pytest.mark.parametrize(
    ("location", "words"),
    [
        ("file:///etc/passwd", "no HTTP address"),
        ("ftp://1.1.1.1/file", "no HTTP address"),
        ("https://[1::/file", "no HTTP address"),
        ("https://user:secret@1.1.1.1/file", "no HTTP address"),
        ("http://1.1.1.1/file", "without TLS"),
        ("https://127.0.0.1:50051/", "not public"),
        ("https://[::1]/", "not public"),
        ("https://[::ffff:127.0.0.1]/", "not public"),
        ("https://169.254.169.254/latest/meta-data", "not public"),
        ("https://192.168.1.1/", "not public"),
        ("https://2130706433/", "not public"),
    ],
)
async def test_elsewhere_is_refused(location: str, words: str) -> None:
    with pytest.raises(SourceFailed, match=words):
        await target_of(PUBLIC, f"{PUBLIC}/v2/", location)


async def test_a_realm_is_bounded_likewise() -> None:
    with pytest.raises(SourceFailed, match="not public"):
        await check_target(PUBLIC, "https://127.0.0.1/token")


@pytest.mark.parametrize("leads_to", ["{path}", "file:///etc/passwd", "http://127.0.0.1:9/x"])
async def test_a_pull_that_is_led_astray_ends(leads_to: str) -> None:
    """The first one leads to itself for ever."""
    registry, client = FakeRegistry(leads_to=leads_to), SourceClient()
    async with serving(registry) as url:
        try:
            with pytest.raises(DroverError):
                await client.get(f"{url}{PATH}", {}, 1000)
        finally:
            await client.close()
    assert 1 <= len(registry.seen) <= 6


async def test_an_answer_that_trickles_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http, "_ANSWER_SECONDS", 0.2)

    async def trickle(request: web.Request) -> web.StreamResponse:
        answer = web.StreamResponse()
        await answer.prepare(request)
        while request.transport is not None and not request.transport.is_closing():
            await answer.write(b" ")
            await asyncio.sleep(0.01)
        return answer

    registry, client = FakeRegistry(), SourceClient()
    registry.manifest = trickle  # type: ignore[method-assign]  # of this one only
    async with serving(registry) as url:
        try:
            with pytest.raises(SourceFailed, match="cannot be reached: TimeoutError"):
                await client.get(f"{url}{PATH}", {}, 1 << 20)
        finally:
            await client.close()
