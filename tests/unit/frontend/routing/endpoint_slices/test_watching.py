"""A watch is continued or started again after any failure."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path

import pytest

from frontend.routing.discovery.endpoint_slices import EndpointSlices
from frontend.routing.discovery.kubernetes_api import ApiServer
from frontend.routing.discovery.kubernetes_service import Service
from tests.fakes.kubernetes_api import FakeKubernetes, endpoint, endpoint_slice
from tests.support.waiting import until
from tests.unit.frontend.routing.endpoint_slices.running_discovery import (
    NEW_WORKER_SECONDS,
    SOON_SECONDS,
    discovering,
    fields,
    kinds,
    logged,
    watched,
)


async def test_an_expired_version_causes_a_new_list(account: Path) -> None:
    api = FakeKubernetes()
    await api.put(endpoint_slice("a", endpoint("10.0.0.1")))
    async with discovering(api, account) as seen:
        await seen.sees("10.0.0.1:50051")
        await watched(api)
        api.refuse_with = 503
        await api.end()
        await api.put(endpoint_slice("b", endpoint("10.0.0.2")))
        await api.delete("a")
        await api.forget()
        api.refuse_with = 0
        await seen.sees("10.0.0.2:50051", within_seconds=NEW_WORKER_SECONDS)


@pytest.mark.parametrize("cut", [True, False])
async def test_a_watch_that_ends_is_continued_from_its_version(account: Path, cut: bool) -> None:
    api = FakeKubernetes()
    await api.put(endpoint_slice("a", endpoint("10.0.0.1")))
    async with discovering(api, account) as seen:
        await seen.sees("10.0.0.1:50051")
        await watched(api)
        await api.bookmark()
        await (api.cut() if cut else api.end())
        await api.put(endpoint_slice("b", endpoint("10.0.0.2")))
        await seen.sees("10.0.0.1:50051", "10.0.0.2:50051", within_seconds=NEW_WORKER_SECONDS)

    # A list after a cut may show it already, before the next watch.
    assert kinds(api)[:3] == ["list", "watch", "list" if cut else "watch"]
    if not cut:
        assert api.asked[2][1]["resourceVersion"] > api.asked[1][1]["resourceVersion"], "the bookmark counts"


async def test_an_unreachable_api_changes_nothing(account: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "drover.fleet")
    api = FakeKubernetes()
    await api.put(endpoint_slice("a", endpoint("10.0.0.1")))
    async with discovering(api, account) as seen:
        await seen.sees("10.0.0.1:50051")
        await watched(api)
        api.refuse_with = 500
        await api.cut()
        asked = len(api.asked)
        await until(lambda: len(api.asked) >= asked + 4, SOON_SECONDS, "it is asked again and again")
        assert seen.now == ["10.0.0.1:50051"]
        assert seen.times == 1
        api.refuse_with = 0
        await api.put(endpoint_slice("b", endpoint("10.0.0.2")))
        await seen.sees("10.0.0.1:50051", "10.0.0.2:50051", within_seconds=NEW_WORKER_SECONDS)
        await until(
            lambda: "the Kubernetes API responds again" in caplog.messages, SOON_SECONDS, "it is logged"
        )

    reasons = [str(fields(record).get("reason")) for record in logged(caplog)]
    assert reasons.count("status 500") == 1


async def test_pauses_grow_to_a_bound(monkeypatch: pytest.MonkeyPatch, account: Path) -> None:
    pauses: list[float] = []
    sleep = asyncio.sleep

    async def noted(seconds: float) -> None:
        pauses.append(seconds)
        await sleep(0)

    monkeypatch.setattr(asyncio, "sleep", noted)
    discovery = EndpointSlices(Service.parse("workers:1"), ApiServer("http://127.0.0.1:9", account))
    for _ in range(50):
        await discovery._pause()

    assert 0.05 <= pauses[0] <= 0.1
    assert 2.0 <= min(pauses[10:]) < max(pauses[10:]) <= 4.0


_NO_OBJECT = (
    b'{"type": "ADDED", "object": {"metadata": {"name": "a"}, "addressType": "IPv4", "endpoints": 7}}'
)
_NO_ADDRESS = endpoint_slice("a", {"addresses": [], "conditions": {}})
_A_NAME = endpoint_slice("a", {"addresses": ["x.example"]}, family="FQDN")


@pytest.mark.parametrize("item", [{**_NO_ADDRESS, "endpoints": "none"}, _NO_ADDRESS, _A_NAME])
async def test_an_invalid_slice_changes_nothing_and_is_logged_once(
    account: Path, caplog: pytest.LogCaptureFixture, item: dict[str, object]
) -> None:
    api = FakeKubernetes()
    await api.put(endpoint_slice("a", endpoint("10.0.0.1")))
    async with discovering(api, account) as seen:
        await seen.sees("10.0.0.1:50051")
        await watched(api)
        await api.put(item)
        await api.put(item)
        await api.cut()
        await api.put(endpoint_slice("b", endpoint("10.0.0.2")))
        await seen.sees("10.0.0.1:50051", "10.0.0.2:50051")
        await api.put(endpoint_slice("a", endpoint("10.0.0.3")))
        await seen.sees("10.0.0.2:50051", "10.0.0.3:50051")

    problems = [record for record in logged(caplog) if record.message == "an EndpointSlice is not used"]
    assert [fields(record)["slice"] for record in problems] == ["a"]


@pytest.mark.parametrize(
    "line",
    [
        b"<html>",
        b'{"type": "ADDED"}',
        b'{"type": "ADDED", "object": {}}',
        b'{"type": "ERROR", "object": {"code": 500}}',
        b"[" * 100_000,
    ],
)
async def test_an_invalid_event_restarts_the_watch(account: Path, line: bytes) -> None:
    api = FakeKubernetes()
    await api.put(endpoint_slice("a", endpoint("10.0.0.1")))
    async with discovering(api, account) as seen:
        await seen.sees("10.0.0.1:50051")
        await watched(api)
        await api.send(line)
        await api.put(endpoint_slice("b", endpoint("10.0.0.2")))
        await seen.sees("10.0.0.1:50051", "10.0.0.2:50051")

    assert kinds(api)[:3] == ["list", "watch", "list"]
