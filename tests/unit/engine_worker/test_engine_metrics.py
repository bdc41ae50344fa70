"""An engine's own metrics at the worker's metrics address."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable

import httpx
import pytest

from drover.errors import EngineFailed
from drover.v1 import engine_pb2 as pb
from engine_worker.engine_metrics import EngineMetrics
from engine_worker.metrics import WorkerMetrics, serve
from tests.support.processes import free_port

_TEXT = """\
# HELP llamacpp:prompt_tokens_total Number of prompt tokens processed.
# TYPE llamacpp:prompt_tokens_total counter
llamacpp:prompt_tokens_total 12
# HELP llamacpp:n_tokens_max Largest observed n_tokens.
# TYPE llamacpp:n_tokens_max counter
llamacpp:n_tokens_max 7
# HELP sglang:ttft_seconds Time.
# TYPE sglang:ttft_seconds histogram
sglang:ttft_seconds_bucket{le="1.0",model_name="/models/a \\"b\\""} 1
sglang:ttft_seconds_bucket{le="+Inf",model_name="/models/a \\"b\\""} 2
sglang:ttft_seconds_sum{model_name="/models/a \\"b\\""} 3
sglang:ttft_seconds_count{model_name="/models/a \\"b\\""} 2
# HELP python_info Python
# TYPE python_info gauge
python_info 1
# HELP drover_worker_running_requests An engine that takes our name.
# TYPE drover_worker_running_requests gauge
drover_worker_running_requests 99
"""
_Read = Callable[[], Awaitable[str]]


@pytest.fixture
async def scrape() -> AsyncIterator[Callable[[_Read], Awaitable[str]]]:
    """The page of a worker whose engine answers with `read`."""
    stops: list[Callable[[], None]] = []

    async def scraped(read: _Read) -> str:
        loop = asyncio.get_running_loop()
        own = WorkerMetrics(["m:latest"], lambda: pb.LoadReport(running=3), loop)
        address = f"127.0.0.1:{free_port()}"
        stops.append(serve(address, own, EngineMetrics("m:latest", read, loop, answer_seconds=0.3)))
        async with httpx.AsyncClient() as client:
            answer = await client.get(f"http://{address}/metrics", timeout=10)
        assert answer.status_code == 200
        return answer.text

    yield scraped
    for stop in stops:
        await asyncio.to_thread(stop)


async def test_they_keep_their_names_and_get_the_models_label(
    scrape: Callable[[_Read], Awaitable[str]],
) -> None:
    async def read() -> str:
        return _TEXT

    lines = (await scrape(read)).splitlines()

    assert 'llamacpp:prompt_tokens_total{model="m:latest"} 12.0' in lines
    # A counter by its type only: with the suffix of one it would have another name.
    assert 'llamacpp:n_tokens_max{model="m:latest"} 7.0' in lines
    assert "# TYPE llamacpp:n_tokens_max gauge" in lines
    labels = 'model="m:latest",model_name="/models/a \\"b\\""'
    assert f'sglang:ttft_seconds_bucket{{le="1.0",{labels}}} 1.0' in lines
    assert f"sglang:ttft_seconds_count{{{labels}}} 2.0" in lines


async def test_other_names_of_an_engine_are_not_passed_on(
    scrape: Callable[[_Read], Awaitable[str]],
) -> None:
    async def read() -> str:
        return _TEXT

    page = await scrape(read)

    assert "python_info" not in page
    assert 'drover_worker_running_requests{model="m:latest"} 3.0' in page
    assert "99" not in page


async def test_a_family_that_comes_twice_is_one(scrape: Callable[[_Read], Awaitable[str]]) -> None:
    async def read() -> str:
        head = "# HELP sglang:x X.\n# TYPE sglang:x gauge\n"
        return f'{head}sglang:x{{rank="0"}} 1\n{_TEXT}{head}sglang:x{{rank="1"}} 2\n'

    lines = (await scrape(read)).splitlines()

    assert len([line for line in lines if line == "# TYPE sglang:x gauge"]) == 1
    first = lines.index('sglang:x{model="m:latest",rank="0"} 1.0')
    assert lines[first + 1] == 'sglang:x{model="m:latest",rank="1"} 2.0'


async def _hangs() -> str:
    await asyncio.Event().wait()
    return ""


async def _fails() -> str:
    raise EngineFailed("llama.cpp did not answer /metrics")


async def _speaks_otherwise() -> str:
    return "<html>{no metrics"


async def _breaks() -> str:
    raise FileNotFoundError("the folder is gone")


@pytest.mark.parametrize("read", [_hangs, _fails, _speaks_otherwise, _breaks])
async def test_an_engine_that_does_not_answer_costs_only_its_own(
    read: _Read, scrape: Callable[[_Read], Awaitable[str]], caplog: pytest.LogCaptureFixture
) -> None:
    began = time.monotonic()
    page = await scrape(read)

    assert time.monotonic() - began < 5
    assert 'drover_worker_running_requests{model="m:latest"} 3.0' in page
    assert "sglang" not in page
    assert [record.getMessage() for record in caplog.records if record.name == "drover.worker"] == [
        "the engine's own metrics cannot be read"
    ]
    assert not [task for task in asyncio.all_tasks() if "_text" in repr(task)]


async def test_an_engine_without_metrics_adds_none(scrape: Callable[[_Read], Awaitable[str]]) -> None:
    async def read() -> str:
        return ""

    assert ":" not in (await scrape(read)).replace("m:latest", "")
