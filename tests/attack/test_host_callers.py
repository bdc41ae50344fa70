"""Callers of a host's gRPC port that are no frontends: too much, and never to an end."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING

import grpc
import pytest

from drover.rpc import CHANNEL_OPTIONS
from drover.v1 import host_pb2, host_pb2_grpc
from tests.attack.figures import Figures
from tests.attack.host_scene import hosted
from tests.attack.leftovers import descriptors

if TYPE_CHECKING:
    from drover.v1.host_pb2_grpc import HostAsyncStub

_CALLS = 300
_SECONDS = 6.0
_DEMANDS = 20_000
_MOST = 2**63 - 1
Calls = Callable[["HostAsyncStub"], Awaitable[None]]


def _demands() -> host_pb2.Demands:
    wanted = (
        host_pb2.Demand(model="x", digest=f"sha256:{number:064x}", waiting=1, waited_ns=_MOST)
        for number in range(_DEMANDS)
    )
    return host_pb2.Demands(demands=wanted)


async def _ensures(stub: HostAsyncStub) -> None:
    """Thousands of demands each, for models that the host does not have."""
    calls = [stub.Ensure() for _ in range(_CALLS)]
    demands = _demands()
    await asyncio.gather(*(call.write(demands) for call in calls[:20]))
    await asyncio.sleep(_SECONDS)


async def _demands_again_and_again(stub: HostAsyncStub) -> None:
    call, demands = stub.Ensure(), _demands()

    async def write() -> None:
        while True:
            await call.write(demands)

    try:
        async with asyncio.timeout(_SECONDS):
            await write()
    except TimeoutError:
        call.cancel()


async def _watchers(stub: HostAsyncStub) -> None:
    """They read nothing."""
    calls = [stub.Watch(host_pb2.WatchHostRequest()) for _ in range(_CALLS)]
    await asyncio.sleep(_SECONDS)
    for call in calls:
        call.cancel()


async def _uploads(stub: HostAsyncStub) -> None:
    """They send the beginning of a file, and no more."""

    async def begin(number: int) -> AsyncIterator[host_pb2.BlobPart]:
        yield host_pb2.BlobPart(digest=f"sha256:{number:064x}")
        yield host_pb2.BlobPart(data=b"x")
        await asyncio.Event().wait()

    calls = [stub.PutBlob(begin(number)) for number in range(_CALLS)]
    await asyncio.sleep(_SECONDS)
    for call in calls:
        call.cancel()


async def _large_messages(stub: HostAsyncStub) -> None:
    async def part() -> AsyncIterator[host_pb2.BlobPart]:
        yield host_pb2.BlobPart(digest=f"sha256:{'0' * 64}")
        yield host_pb2.BlobPart(data=bytes(100 << 20))

    for call in (stub.PutBlob(part()), stub.Create(host_pb2.CreateRequest(system="x" * (100 << 20))).read()):
        with pytest.raises(grpc.aio.AioRpcError) as failure:
            await call
        assert failure.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED


_KINDS: dict[str, Calls] = {
    "Ensure calls that are left": _ensures,
    "demands again and again": _demands_again_and_again,
    "watchers that do not read": _watchers,
    "uploads that are left": _uploads,
    "large messages": _large_messages,
}


@pytest.mark.parametrize("kind", _KINDS)
async def test_callers(tmp_path: Path, figures: Figures, kind: str) -> None:
    """They come twice: what the second ones leave is what leaks."""
    async with hosted(tmp_path, figures) as scene:

        async def call() -> None:
            async with grpc.aio.insecure_channel(scene.host.address, options=CHANNEL_OPTIONS) as channel:
                await _KINDS[kind](host_pb2_grpc.HostStub(channel))

        await call()
        scene.measure_anew()
        calling = asyncio.create_task(call(), name="call")
        most = 0
        while not calling.done():
            most = max(most, descriptors(scene.host.pid))
            await asyncio.sleep(0.1)
        await calling
        figures.notes.append(f"the host had at most {most} descriptors")
        assert most < _CALLS
