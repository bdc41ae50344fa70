"""A host in this process, with simulated models in workers of their own: what its calls do."""

from __future__ import annotations

import asyncio
import itertools
import os
import signal
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import grpc
import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from drover.errors import EngineFailed, InvalidRequest, ModelNotFound, NoWorkerReady
from drover.rpc import error_from_status, error_of_failure
from drover.v1 import engine_pb2, engine_pb2_grpc, host_pb2, host_pb2_grpc
from engine_worker.host import metrics as host_metrics
from engine_worker.host.memory.shortage import OomKills
from tests.fakes.nvml import FakeGpu, FakeNvml
from tests.support.hosts import hosting, put_simulated, worker_pids
from tests.support.processes import free_port
from tests.unit.engine_worker.host.conftest import digest_of

if TYPE_CHECKING:
    from drover.v1.host_pb2_grpc import HostAsyncStub

SECONDS = 30.0


@asynccontextmanager
async def serving(store: Path, *flags: str) -> AsyncIterator[HostAsyncStub]:
    async with (
        hosting(store, *flags, memory_mib=250) as server,
        grpc.aio.insecure_channel(server.address) as channel,
    ):
        yield host_pb2_grpc.HostStub(channel)


@pytest.fixture
async def stub(tmp_path: Path) -> AsyncIterator[HostAsyncStub]:
    put_simulated(tmp_path / "store", ["one", "two", "three"])
    put_simulated(tmp_path / "store", ["large"], memory_mib=300)
    put_simulated(tmp_path / "store", ["broken"], 100, "--no-such-flag", "1")
    async with serving(tmp_path / "store") as stub:
        yield stub


class Watched:
    """The newest state of a host."""

    def __init__(self, stub: HostAsyncStub) -> None:
        self._states = stub.Watch(host_pb2.WatchHostRequest())
        self.stored: dict[str, host_pb2.StoredModel] = {}
        self.state = host_pb2.HostState()

    async def next(self) -> None:
        state = await self._states.read()
        assert isinstance(state, host_pb2.HostState)
        if state.HasField("stored"):
            self.stored = {each.card.names[0]: each for each in state.stored.models}
        self.state = state

    async def until_loaded(self, *models: str) -> None:
        """Until exactly these models are in memory and ready."""
        wanted = {f"{model}:latest" for model in models}
        async with asyncio.timeout(SECONDS):
            while {each.model for each in self._ready()} != wanted or len(self.state.children) != len(wanted):
                await self.next()

    def _ready(self) -> Sequence[host_pb2.Child]:
        return [each for each in self.state.children if each.state == host_pb2.Child.READY]

    def demand(self, model: str, **fields: bool) -> host_pb2.Demand:
        digest = self.stored[f"{model}:latest"].card.manifest
        return host_pb2.Demand(model=model, digest=digest, waiting=1, **fields)


@pytest.fixture
async def watched(stub: HostAsyncStub) -> Watched:
    watched = Watched(stub)
    await watched.next()
    return watched


@asynccontextmanager
async def demanding(
    stub: HostAsyncStub, *demands: host_pb2.Demand
) -> AsyncIterator[grpc.aio.StreamStreamCall[host_pb2.Demands, host_pb2.LoadFailure]]:
    call = stub.Ensure()
    await call.write(host_pb2.Demands(demands=demands))
    try:
        yield call
    finally:
        call.cancel()


async def test_it_lists_its_store(watched: Watched) -> None:
    assert set(watched.stored) == {f"{name}:latest" for name in ("one", "two", "three", "large", "broken")}
    assert watched.stored["one:latest"].engine == "simulator"
    assert watched.state.budget_bytes == 250 << 20


async def test_it_loads_what_is_waited_for_and_makes_room(stub: HostAsyncStub, watched: Watched) -> None:
    async with demanding(stub, watched.demand("one"), watched.demand("two")):
        await watched.until_loaded("one", "two")
    (child, _) = watched.state.children
    async with grpc.aio.insecure_channel(child.address) as channel:
        model = await engine_pb2_grpc.EngineStub(channel).GetModel(engine_pb2.GetModelRequest())
    assert model.manifest == child.digest
    async with demanding(stub, watched.demand("three")):
        async with asyncio.timeout(SECONDS):
            while "three:latest" not in {each.model for each in watched.state.children}:
                await watched.next()
    assert watched.state.used_bytes <= watched.state.budget_bytes
    assert (await stub.Release(host_pb2.ReleaseRequest(model="three"))).found
    async with asyncio.timeout(SECONDS):
        while "three:latest" in {each.model for each in watched.state.children}:
            await watched.next()
    assert not (await stub.Release(host_pb2.ReleaseRequest(model="three"))).found
    assert watched.stored["three:latest"].memory_bytes == 100 << 20


async def test_a_second_replica_evicts_nothing(stub: HostAsyncStub, watched: Watched) -> None:
    async with demanding(stub, watched.demand("one"), watched.demand("two")):
        await watched.until_loaded("one", "two")
    async with demanding(stub, watched.demand("three", extra=True)), asyncio.timeout(SECONDS):
        await stub.Release(host_pb2.ReleaseRequest(model="one"))
        await watched.until_loaded("two", "three")


@pytest.fixture
async def brief(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[HostAsyncStub]:
    """A host with two models that soon ends second replicas."""
    monkeypatch.setattr("engine_worker.host.pool._MEASURE_SECONDS", 0.05)
    put_simulated(tmp_path / "store", ["one", "two"])
    async with serving(tmp_path / "store", "--replica-seconds", "0.3") as stub:
        yield stub


async def test_a_second_replica_that_is_not_needed_ends(brief: HostAsyncStub) -> None:
    watched = Watched(brief)
    await watched.next()
    async with demanding(brief, watched.demand("one"), watched.demand("two", extra=True)):
        await watched.until_loaded("one", "two")
    await watched.until_loaded("one")


async def test_a_second_replica_that_is_the_only_one_stays(brief: HostAsyncStub) -> None:
    """Of two that are not needed the one goes that some other host has as well."""
    watched = Watched(brief)
    await watched.next()
    one, two = (watched.demand(name, extra=True) for name in ("one", "two"))
    async with demanding(brief, one, two) as call:
        await call.write(host_pb2.Demands(demands=[one, two], only_replicas=[one.digest]))
        await watched.until_loaded("one", "two")
    await watched.until_loaded("one")
    assert [each.extra for each in watched.state.children] == [False]


async def test_a_load_that_no_request_waits_for_makes_room(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its client has gone."""
    monkeypatch.setattr("engine_worker.host.plan._UNWANTED_SECONDS", 0.2)
    put_simulated(tmp_path / "store", ["slow"], 200, "--sim-load-ms", "60000")
    put_simulated(tmp_path / "store", ["one"])
    async with serving(tmp_path / "store", "--drain-seconds", "60") as stub:
        watched = Watched(stub)
        await watched.next()
        async with demanding(stub, watched.demand("slow")), asyncio.timeout(SECONDS):
            while not watched.state.children:
                await watched.next()
        async with demanding(stub, watched.demand("one")):
            await watched.until_loaded("one")


@pytest.mark.parametrize(
    ("model", "error", "words"),
    [
        ("large", NoWorkerReady, r"needs 300 MiB of memory, and this host has 250 MiB"),
        ("broken", Exception, r"cannot be loaded: its worker ended \(status 2\).*no-such-flag"),
    ],
)
async def test_loads_that_fail_say_why(
    stub: HostAsyncStub, watched: Watched, model: str, error: type[Exception], words: str
) -> None:
    async with demanding(stub, watched.demand(model)) as call, asyncio.timeout(SECONDS):
        failure = await call.read()
    assert isinstance(failure, host_pb2.LoadFailure)
    with pytest.raises(error, match=words):
        raise error_of_failure(failure.failure)


async def test_files_become_a_model_and_go_again(stub: HostAsyncStub, watched: Watched, gguf: bytes) -> None:
    async def parts() -> AsyncIterator[host_pb2.BlobPart]:
        yield host_pb2.BlobPart(digest=digest_of(gguf))
        for begin in range(0, len(gguf), 1 << 20):
            yield host_pb2.BlobPart(data=gguf[begin : begin + (1 << 20)])

    assert not (await stub.FindBlob(host_pb2.FindBlobRequest(digest=digest_of(gguf)))).found
    assert not (await stub.PutBlob(parts())).existed
    assert (await stub.PutBlob(parts())).existed
    request = host_pb2.CreateRequest(model="made", files={"a.gguf": digest_of(gguf)}, system="Be brief.")
    steps = [step.status async for step in stub.Create(request)]
    assert steps[-1] == "success"
    async with asyncio.timeout(SECONDS):
        while "made:latest" not in watched.stored:
            await watched.next()
    card = await stub.GetStored(host_pb2.GetStoredRequest(model="made"))
    assert (card.system, bool(card.tensors)) == ("Be brief.", True)
    assert (await stub.Delete(host_pb2.DeleteRequest(model="made"))).freed_bytes >= len(gguf)
    with pytest.raises(grpc.aio.AioRpcError) as failed:
        await stub.Delete(host_pb2.DeleteRequest(model="made"))
    assert isinstance(error_from_status(failed.value), ModelNotFound)


@pytest.mark.parametrize(
    ("file", "status"), [("a.gguf", "parsing GGUF"), ("model.safetensors", "reading safetensors")]
)
async def test_a_creation_says_what_it_reads(stub: HostAsyncStub, file: str, status: str) -> None:
    call = stub.Create(host_pb2.CreateRequest(model="made", files={file: digest_of(b"none")}))
    step = await call.read()
    assert isinstance(step, host_pb2.Progress)
    assert step.status == status
    call.cancel()


async def test_a_blob_that_is_not_its_digest(stub: HostAsyncStub) -> None:
    async def parts() -> AsyncIterator[host_pb2.BlobPart]:
        yield host_pb2.BlobPart(digest=digest_of(b"right"))
        yield host_pb2.BlobPart(data=b"wrong")

    with pytest.raises(grpc.aio.AioRpcError) as failed:
        await stub.PutBlob(parts())
    assert isinstance(error_from_status(failed.value), InvalidRequest)
    assert (await stub.Prune(host_pb2.PruneRequest())).files == 0


async def test_flags_that_no_process_can_have_do_not_end_the_loading_of_others(tmp_path: Path) -> None:
    put_simulated(tmp_path / "store", ["odd"], 100, "a\0b")
    put_simulated(tmp_path / "store", ["one"])
    async with serving(tmp_path / "store") as stub:
        watched = Watched(stub)
        await watched.next()
        async with demanding(stub, watched.demand("odd")) as call, asyncio.timeout(SECONDS):
            failure = await call.read()
        assert isinstance(failure, host_pb2.LoadFailure)
        assert "cannot be loaded" in failure.failure.message
        async with demanding(stub, watched.demand("one")):
            await watched.until_loaded("one")


async def test_a_pinned_model_is_loaded_at_the_start_and_found_again(tmp_path: Path) -> None:
    """The next host on a store finds the worker of the one before, which left it running."""
    put_simulated(tmp_path / "store", ["one"])
    settings = ("--model-settings", '{"one*": {"pinned": true}}')
    async with serving(tmp_path / "store", *settings, "--leave-workers") as stub:
        first = Watched(stub)
        await first.until_loaded("one")
    put_simulated(tmp_path / "store", ["large"], memory_mib=200)
    async with serving(tmp_path / "store", *settings) as stub:
        second = Watched(stub)
        await second.until_loaded("one")
        async with demanding(stub, second.demand("large")) as call, asyncio.timeout(SECONDS):
            failure = await call.read()
    assert isinstance(failure, host_pb2.LoadFailure)
    assert "this host has 150 MiB for it" in failure.failure.message
    assert first.state.children[0].address == second.state.children[0].address


async def test_a_load_that_was_killed_is_tried_once_more(tmp_path: Path) -> None:
    put_simulated(tmp_path / "store", ["slow"], 100, "--sim-load-ms", "60000")
    async with serving(tmp_path / "store") as stub:
        watched = Watched(stub)
        await watched.next()
        async with demanding(stub, watched.demand("slow")) as call, asyncio.timeout(SECONDS):
            failing = asyncio.create_task(call.read())
            pids: list[int] = []
            while len(pids) < 2:
                running = set(worker_pids(tmp_path / "store")) - set(pids)
                for pid in running:
                    assert not failing.done()
                    pids.append(pid)
                    os.kill(pid, signal.SIGKILL)
                await asyncio.sleep(0.01)
            failure = await failing
    assert isinstance(failure, host_pb2.LoadFailure)
    with pytest.raises(EngineFailed, match=r"cannot be loaded: its worker ended \(signal 9\)"):
        raise error_of_failure(failure.failure)


async def test_a_load_that_ran_out_of_memory_is_tried_with_more_and_then_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The kernel's count of its kills is the test's here; tests/chaos_long/test_memory.py has a real one."""
    kills = 0
    monkeypatch.setattr("engine_worker.host.learning.OomKills", lambda: OomKills(lambda: kills))
    put_simulated(tmp_path / "store", ["one"])
    put_simulated(tmp_path / "store", ["slow"], 100, "--sim-load-ms", "60000")
    async with serving(tmp_path / "store") as stub:
        watched = Watched(stub)
        await watched.next()
        async with demanding(stub, watched.demand("one")):
            await watched.until_loaded("one")
        others = set(worker_pids(tmp_path / "store"))
        async with demanding(stub, watched.demand("slow")) as call, asyncio.timeout(SECONDS):
            failing = asyncio.create_task(call.read())
            while not failing.done():
                for pid in set(worker_pids(tmp_path / "store")) - others:
                    kills += 1
                    others.add(pid)
                    os.kill(pid, signal.SIGKILL)
                await asyncio.sleep(0.01)
            failures = [await failing]
        assert kills == 2
        async with demanding(stub, watched.demand("slow")) as call, asyncio.timeout(SECONDS):
            while len(failures) < 3:
                failures.append(await call.read())
        await watched.until_loaded()
    texts = [failure.failure.message for failure in failures if isinstance(failure, host_pb2.LoadFailure)]
    assert "ran out of memory: this host had 250 MiB of memory for it (100 MiB expected" in texts[0]
    assert "needs more than 250 MiB of memory, which its last load ran out of" in texts[-1]


async def test_models_get_gpus_of_their_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Over a stand-in for the driver's library, with workers that only look at their environment."""
    FakeNvml(FakeGpu("GPU-a", 1000 << 20), FakeGpu("GPU-b", 1000 << 20)).install(monkeypatch)
    put_simulated(tmp_path / "store", ["one", "two"], 10, gpus=1, gpu_mib=600)
    put_simulated(tmp_path / "store", ["both"], 10, gpus=2, gpu_mib=800)
    put_simulated(tmp_path / "store", ["huge"], 10, gpus=1, gpu_mib=901)
    address = f"127.0.0.1:{free_port()}"
    async with serving(tmp_path / "store", "--metrics-listen", address) as stub:
        watched = Watched(stub)
        await watched.next()
        async with demanding(stub, *map(watched.demand, ("one", "two"))):
            await watched.until_loaded("one", "two")
        assert await _gpu_gauges(address) == {
            (name, gpu): mib
            for name, mib in (("gpu_memory_bytes", 600), ("gpu_memory_budget_bytes", 900))
            for gpu in ("GPU-a", "GPU-b")
        }
        assert {gpu.id: gpu.used_bytes >> 20 for gpu in watched.state.gpus} == {"GPU-a": 600, "GPU-b": 600}
        visible = {child.model: list(child.gpus) for child in watched.state.children}
        assert sorted([visible["one:latest"], visible["two:latest"]]) == [["GPU-a"], ["GPU-b"]]
        assert _visible(tmp_path / "store") == {"GPU-a", "GPU-b"}
        async with demanding(stub, watched.demand("both")):
            await watched.until_loaded("both")
        assert [child.vram_bytes >> 20 for child in watched.state.children if child.gpus] == [1600]
        assert _visible(tmp_path / "store") == {"0,1"}
        async with demanding(stub, watched.demand("huge")) as call, asyncio.timeout(SECONDS):
            failure = await call.read()
    assert isinstance(failure, host_pb2.LoadFailure)
    assert "needs 901 MiB of a GPU's memory, and this host has 900 MiB for it" in failure.failure.message


async def _gpu_gauges(address: str) -> dict[tuple[str, str], float]:
    """In MiB, by the metric's name and the GPU."""
    async with httpx.AsyncClient() as client:
        text = (await client.get(f"http://{address}/metrics")).text
    families = text_string_to_metric_families(text)
    samples = [each for family in families for each in family.samples if "gpu" in each.labels]
    names = [(each.name.removeprefix("drover_host_"), each.labels["gpu"]) for each in samples]
    return {name: each.value / (1 << 20) for name, each in zip(names, samples, strict=True)}


def _visible(store: Path) -> set[str]:
    """The GPUs that workers may see."""
    environments = (Path(f"/proc/{pid}/environ").read_text().split("\0") for pid in worker_pids(store))
    pairs = (pair.partition("=") for pair in itertools.chain.from_iterable(environments))
    return {value for name, _, value in pairs if name == "CUDA_VISIBLE_DEVICES"}


async def test_it_counts_what_it_does(tmp_path: Path) -> None:
    put_simulated(tmp_path / "store", ["one", "two", "three"])
    address = f"127.0.0.1:{free_port()}"
    async with serving(tmp_path / "store", "--metrics-listen", address) as stub:
        watched = Watched(stub)
        await watched.next()
        async with demanding(stub, watched.demand("one"), watched.demand("two")):
            await watched.until_loaded("one", "two")
        async with demanding(stub, watched.demand("three")), asyncio.timeout(SECONDS):
            while "three:latest" not in {each.model for each in watched.state.children}:
                await watched.next()
        async with httpx.AsyncClient() as client:
            text = (await client.get(f"http://{address}/metrics")).text
    families = {family.name: family for family in text_string_to_metric_families(text)}
    for metric in host_metrics.METRICS:
        assert families[metric.name].type == metric.kind
    values = {each.name: each.value for family in families.values() for each in family.samples}
    assert values["drover_host_models"] == 3
    assert values["drover_host_load_seconds_count"] == 2
    assert values["drover_host_evictions_total"] >= 1
    assert values["drover_host_memory_bytes"] <= values["drover_host_memory_budget_bytes"] == 250 << 20
    assert values["drover_host_disk_bytes"] > 0
