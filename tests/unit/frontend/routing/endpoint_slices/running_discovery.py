"""Runs a discovery against the fake Kubernetes API, and reads its log."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from frontend.routing.discovery.endpoint_slices import EndpointSlices
from frontend.routing.discovery.kubernetes_api import ApiServer
from frontend.routing.discovery.kubernetes_service import Service
from tests.fakes.kubernetes_api import FakeKubernetes
from tests.support.waiting import until

SOON_SECONDS = 30.0
NEW_WORKER_SECONDS = 5.0


@dataclass
class Following:
    """The last list of a discovery, and the number of lists."""

    now: Sequence[str] | None = None
    times: int = 0

    async def sees(self, *addresses: str, within_seconds: float = SOON_SECONDS) -> float:
        return await until(
            lambda: self.now == list(addresses), within_seconds, f"{addresses}, not {self.now}"
        )


@asynccontextmanager
async def following(discovery: EndpointSlices) -> AsyncIterator[Following]:
    seen = Following()

    async def follow() -> None:
        async with aclosing(discovery.addresses()) as lists:
            async for addresses in lists:
                seen.now = addresses
                seen.times += 1

    task = asyncio.create_task(follow(), name="follow the discovery")
    try:
        yield seen
        assert not task.done(), "a discovery never ends"
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


@asynccontextmanager
async def discovering(
    api: FakeKubernetes, account: Path, service: str = "workers:50051"
) -> AsyncIterator[Following]:
    async with api.served() as port:
        discovery = EndpointSlices(Service.parse(service), ApiServer(f"http://127.0.0.1:{port}", account))
        async with following(discovery) as seen:
            yield seen


def kinds(api: FakeKubernetes) -> list[str]:
    return [kind for kind, _ in api.asked]


async def watched(api: FakeKubernetes) -> None:
    await until(lambda: api.watching > 0, SOON_SECONDS, "it is watched")


def logged(caplog: pytest.LogCaptureFixture) -> list[logging.LogRecord]:
    return [record for record in caplog.records if record.name == "drover.fleet"]


def fields(record: logging.LogRecord) -> dict[str, object]:
    fields: dict[str, object] = record.__dict__["fields"]
    return fields
