"""Where a source may lead, and where not."""

from __future__ import annotations

import asyncio
from contextlib import nullcontext

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


EMBEDDING = {
    "10.0.0.1": [
        "::ffff:10.0.0.1",
        "::10.0.0.1",
        "64:ff9b::10.0.0.1",
        "64:ff9b:1::10.0.0.1",
        "64:ff9b:1:0:5::10.0.0.1",
        "64:ff9b:1:a00:0:100::",
        "64:ff9b:1:a:0:1::",
        "64:ff9b:1:0:a:0:100:0",
        "2002:a00:1::1",
        "2001:0:808:808::f5ff:fffe",
        "2001:0:a00:1::f7f7:f7f7",
    ],
    "8.8.8.8": [
        "::ffff:8.8.8.8",
        "::8.8.8.8",
        "64:ff9b::8.8.8.8",
        "64:ff9b:1::8.8.8.8",
        "2002:808:808::1",
        "2001:0:808:808::f7f7:f7f7",
        "2606:4700::1111",
    ],
}


@pytest.mark.parametrize(
    ("address", "is_public"),
    [(each, embedded == "8.8.8.8") for embedded, found in EMBEDDING.items() for each in found]
    + [("fec0::1", False), ("fd00::1", False), ("fe80::1", False), ("::1", False), ("::", False)],
)
async def test_an_address_counts_as_the_one_that_it_embeds(address: str, is_public: bool) -> None:
    """Of NAT64, 6to4 and Teredo, and those that are mapped: their packets go to an IPv4 address."""
    with nullcontext() if is_public else pytest.raises(SourceFailed, match="not public"):
        await check_target(PUBLIC, f"https://[{address}]/")


async def test_where_all_is_translated_a_source_on_the_internet_is_bounded_too() -> None:
    """With DNS64 and a prefix of the network's own, the source has such an address, too."""
    source = "https://[64:ff9b:1::8.8.8.8]"
    await check_target(source, "https://[64:ff9b:1::1.1.1.1]/")
    with pytest.raises(SourceFailed, match="not public"):
        await check_target(source, "https://[64:ff9b:1::10.0.0.1]/")


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
