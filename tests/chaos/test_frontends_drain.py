"""SIGTERM on a frontend: not ready at once, open requests finish, late ones get an error, exit status 0."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest

from tests.chaos.clients import Crowd, Seen, body, stream
from tests.chaos.fleet import Fleet, is_idle, running_fleet
from tests.chaos.test_workers_die import SLOW
from tests.fakes.http_server import RawClient
from tests.support.waiting import until

_DEADLINE_SECONDS = 20.0
_REFUSED_SECONDS = 1.5
# The first packet of a connection that comes in the listener's last milliseconds is dropped; the kernel sends
# the next one after 1 s, when the frontend no longer waits for requests.
_CONNECT_TIMEOUT = httpx.Timeout(_DEADLINE_SECONDS, connect=0.1)
_GRACE_SECONDS = 0.8
_SHORT_GRACE = ("--shutdown-grace-seconds", str(_GRACE_SECONDS))
_SHUTDOWN_ERROR = "the server is shutting down: drain timeout reached"


@asynccontextmanager
async def _streams(fleet: Fleet, count: int, tokens: int) -> AsyncIterator[Crowd]:
    crowd = Crowd(fleet.url())
    crowd.send([body(f"open {number}", tokens) for number in range(count)])
    await until(lambda: fleet.running(0) == count, _DEADLINE_SECONDS, "all of them run")
    yield crowd


async def _connected(fleet: Fleet, count: int) -> list[RawClient]:
    """Open connections without a request."""
    host, _, port = fleet.frontends[0].address.rpartition(":")
    return [RawClient(*await asyncio.open_connection(host, int(port))) for _ in range(count)]


async def _refuses(url: str) -> bool:
    async with httpx.AsyncClient(base_url=url, timeout=_CONNECT_TIMEOUT, trust_env=False) as fresh:
        with contextlib.suppress(httpx.ConnectTimeout):
            try:
                await fresh.get("/healthz")
            except httpx.ConnectError:
                return True
        return False


async def test_open_streams_finish_while_new_connections_are_refused(tmp_path: Path) -> None:
    with running_fleet(tmp_path, workers=1, worker_flags=SLOW) as fleet:
        async with _streams(fleet, 6, 100) as crowd, httpx.AsyncClient(base_url=fleet.url()) as kept:
            assert (await kept.get("/readyz")).status_code == 200
            fleet.frontends[0].signal(signal.SIGTERM)
            unready = await kept.get("/readyz")
            assert (unready.status_code, unready.text) == (503, "shutting down")
            await until(lambda: _refuses(fleet.url()), _REFUSED_SECONDS, "new connections are refused")
            seen = await crowd.all_seen()
            assert await asyncio.to_thread(fleet.frontends[0].wait) == 0
        assert is_idle(fleet, [0])

    assert all(each.is_whole for each in seen), seen
    assert "Traceback" not in fleet.frontends[0].log_text()


async def test_requests_in_flight_are_answered_and_their_connections_closed(tmp_path: Path) -> None:
    """A client notices the end of a frontend by a refused connection only; earlier requests are not lost."""
    with running_fleet(tmp_path, workers=1, worker_flags=SLOW) as fleet:
        async with httpx.AsyncClient(base_url=fleet.url(), timeout=20, trust_env=False) as kept:
            assert (await stream(kept, body("before", 2))).is_whole
            fresh = await _connected(fleet, 8)
            fleet.frontends[0].signal(signal.SIGTERM)
            await until(lambda: _refuses(fleet.url()), _REFUSED_SECONDS, "new connections are refused")
            asking = asyncio.gather(*map(_ask, fresh))
            late = await kept.post("/api/chat", json=body("late", 2))
            answers = await asking
        assert await asyncio.to_thread(fleet.frontends[0].wait) == 0

    assert all(b" 200 OK" in answer and b"connection: close" in answer for answer in answers), answers
    assert (late.status_code, late.headers["connection"]) == (200, "close")


async def _ask(client: RawClient, headers: bytes = b"") -> bytes:
    """Until the server closes the connection."""
    client.writer.write(b"GET /api/version HTTP/1.1\r\nhost: localhost\r\n%b\r\n" % headers)
    try:
        return await asyncio.wait_for(client.reader.read(), _DEADLINE_SECONDS)
    finally:
        client.leave()


async def test_a_burst_of_new_connections_gets_answers_or_refusals_only(tmp_path: Path) -> None:
    """Also connections that are not accepted yet when the signal comes."""
    with running_fleet(tmp_path, workers=1, worker_flags=SLOW) as fleet:
        host, _, port = fleet.frontends[0].address.rpartition(":")
        seen: Counter[str] = Counter()
        storm = [asyncio.create_task(_ask_until_refused(host, int(port), seen)) for _ in range(40)]
        await until(lambda: seen["answered"] > 200, _DEADLINE_SECONDS, "they are answered")
        fleet.frontends[0].signal(signal.SIGTERM)
        await asyncio.wait_for(asyncio.gather(*storm), _DEADLINE_SECONDS)

    assert seen.keys() == {"answered", "refused"}
    assert seen["refused"] == 40


async def _ask_until_refused(host: str, port: int, seen: Counter[str]) -> None:
    outcome = ""
    while outcome != "refused":
        try:
            client = RawClient(*await asyncio.open_connection(host, port))
        except ConnectionRefusedError:
            outcome = "refused"
        else:
            outcome = await _outcome(client)
        seen[outcome] += 1


async def _outcome(client: RawClient) -> str:
    try:
        return (
            "answered"
            if b" 200 OK" in await _ask(client, b"connection: close\r\n")
            else "closed without an answer"
        )
    except OSError as error:
        return type(error).__name__


async def test_a_request_during_the_start_is_answered(tmp_path: Path) -> None:
    """Restarted frontends listen before they know a worker; requests wait for one."""
    with running_fleet(tmp_path, workers=1, worker_flags=SLOW) as fleet:
        fleet.frontends[0].signal(signal.SIGKILL)
        await asyncio.to_thread(fleet.frontends[0].wait)
        restarting = asyncio.create_task(asyncio.to_thread(fleet.restart_frontend, 0))
        async with httpx.AsyncClient(base_url=fleet.url(), timeout=20, trust_env=False) as http:
            seen = Seen(was_refused=True)
            while seen.was_refused:
                seen = await stream(http, body("early", 2))
        await restarting

    assert seen.is_whole, seen


async def test_after_the_grace_period_streams_end_with_the_error_line(tmp_path: Path) -> None:
    with running_fleet(tmp_path, workers=1, worker_flags=SLOW, frontend_flags=_SHORT_GRACE) as fleet:
        async with _streams(fleet, 4, 4000) as crowd:
            crowd.send([{**body("whole", 4000), "stream": False}])
            await until(lambda: fleet.running(0) == 5, _DEADLINE_SECONDS, "all of them run")
            began = asyncio.get_running_loop().time()
            fleet.frontends[0].signal(signal.SIGTERM)
            seen = await crowd.all_seen()
            took = asyncio.get_running_loop().time() - began
            assert await asyncio.to_thread(fleet.frontends[0].wait) == 0
        await until(lambda: is_idle(fleet, [0]), 2.0, "their slots are free")

    assert [each.error for each in seen] == [_SHUTDOWN_ERROR] * 5
    assert [each.status for each in seen] == [200] * 4 + [503]
    assert _GRACE_SECONDS <= took < _GRACE_SECONDS + 2


async def test_after_the_grace_period_queued_requests_get_an_error(tmp_path: Path) -> None:
    one_at_a_time = (*SLOW, "--sim-running-limit", "1")
    with running_fleet(tmp_path, workers=1, worker_flags=one_at_a_time, frontend_flags=_SHORT_GRACE) as fleet:
        crowd = Crowd(fleet.url())
        crowd.send([body(f"queue {number}", 4000) for number in range(5)])
        await until(lambda: fleet.running(0) == 2, _DEADLINE_SECONDS, "one runs and one waits there")
        fleet.frontends[0].signal(signal.SIGTERM)
        seen = await crowd.all_seen()
        assert await asyncio.to_thread(fleet.frontends[0].wait) == 0

    assert {each.error for each in seen} == {_SHUTDOWN_ERROR}
    assert sorted(each.status for each in seen) == [200] + [503] * 4


@pytest.mark.parametrize("read", [b"\n", b""], ids=["reads a line", "never reads"])
async def test_a_client_that_does_not_read_does_not_delay_the_shutdown(tmp_path: Path, read: bytes) -> None:
    fast = ("--sim-decode-step-base-ms", "1", "--sim-decode-step-per-running-ms", "0")
    answers = ("--sim-answer-tokens-min", "400000", "--sim-answer-tokens-max", "400000")
    flags = (*fast, *answers, "--sim-token-bytes", "3")
    with running_fleet(tmp_path, workers=1, worker_flags=flags, frontend_flags=_SHORT_GRACE) as fleet:
        port = int(fleet.frontends[0].address.rpartition(":")[2])
        client = await RawClient.post(port, "/api/chat", body("slow", 300_000), receive_buffer=4096)
        if read:
            await client.read_until(read)
        client.stop_reading()
        await until(lambda: fleet.running(0) == 1, _DEADLINE_SECONDS, "it runs")
        await asyncio.sleep(1.5)
        fleet.frontends[0].signal(signal.SIGTERM)
        assert await asyncio.to_thread(fleet.frontends[0].wait) == 0
        await until(lambda: is_idle(fleet, [0]), 2.0, "its slot is free")
        client.leave()
