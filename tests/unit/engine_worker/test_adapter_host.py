"""The adapters of a worker: uploads, their bounds, and which ones stay."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import cast

import numpy
import pytest

from drover.concurrency import ChangeSignal
from drover.errors import AdapterMissing, InvalidRequest, QueueFull
from drover.v1 import engine_pb2 as pb
from engine_worker.adapter_host import AdapterHost, AdapterLimits, in_use
from engine_worker.adapters.contents import Adapter, read_adapter
from engine_worker.adapters.named import adapter_at, find_named
from engine_worker.engines.base import Engine
from engine_worker.model_lifecycle import ModelLifecycle
from tests.support.adapter_upload import files_of, header_of, parts_of
from tests.support.adapters import write_peft_adapter
from tests.support.waiting import until

_LIMITS = AdapterLimits(count=2, total_bytes=100_000, rank=4)


class _Engine:
    """Writes down which adapters it is given; refuses those in `refused`."""

    def __init__(self) -> None:
        self.sets: list[list[str]] = []
        self.refused: set[str] = set()
        self.needs_idle = False

    def model(self) -> pb.Model:
        return pb.Model(names=["m:latest"], capabilities=pb.Capabilities(safetensors_adapters=True))

    def adapters_need_idle(self, adapters: Sequence[Adapter]) -> bool:
        return self.needs_idle

    async def use_adapters(self, adapters: Sequence[Adapter]) -> None:
        digests = [adapter.digest for adapter in adapters]
        if self.refused.intersection(digests):
            raise InvalidRequest("adapters: the engine cannot load it")
        self.sets.append(digests)


class _Setup:
    def __init__(self, folder: Path, limits: AdapterLimits = _LIMITS) -> None:
        self.engine = _Engine()
        changed = ChangeSignal()
        self.lifecycle = ModelLifecycle(cast("Engine", self.engine), -1, 5.0, changed)
        self.folder = folder / "adapters"
        self.host = AdapterHost(cast("Engine", self.engine), self.lifecycle, self.folder, limits, changed)

    async def put(self, files: dict[str, bytes]) -> str:
        header = header_of(files)
        await self.host.put(parts_of(header, files))
        return header.digest

    @property
    def on_disk(self) -> list[str]:
        return sorted(path.name for path in self.folder.iterdir())


def _adapter(folder: Path, number: int, rank: int = 1) -> dict[str, bytes]:
    """Each number has other bytes."""
    found = {
        "v_proj.A": numpy.full((rank, 8), number, numpy.float32),
        "v_proj.B": numpy.ones((4, rank), numpy.float32),
    }
    write_peft_adapter(folder / str(number), found)
    return dict(files_of(folder / str(number)))


@pytest.fixture
async def setup(tmp_path: Path) -> AsyncIterator[_Setup]:
    setup = _Setup(tmp_path)
    await setup.host.start()
    yield setup
    await setup.host.stop()


async def test_an_upload_is_given_to_the_engine_and_kept(setup: _Setup, tmp_path: Path) -> None:
    digest = await setup.put(_adapter(tmp_path, 1))

    assert setup.engine.sets == [[digest]]
    assert setup.host.digests == [digest]
    assert setup.on_disk == [digest]


async def test_the_same_adapter_is_not_read_twice(setup: _Setup, tmp_path: Path) -> None:
    files = _adapter(tmp_path, 1)
    await setup.put(files)

    async def only_the_header() -> AsyncIterator[pb.AdapterPart]:
        yield pb.AdapterPart(header=header_of(files))
        raise AssertionError("more was read")

    assert (await setup.host.put(only_the_header())).existed
    assert len(setup.engine.sets) == 1


async def test_the_least_recently_used_one_makes_room(setup: _Setup, tmp_path: Path) -> None:
    first, second = [await setup.put(_adapter(tmp_path, number)) for number in (1, 2)]
    with setup.host.using(first):
        pass
    third = await setup.put(_adapter(tmp_path, 3))

    assert setup.host.digests == [first, third]
    assert setup.on_disk == sorted([first, third])
    with pytest.raises(AdapterMissing), setup.host.using(second):
        pass


async def test_adapters_in_use_do_not_make_room(setup: _Setup, tmp_path: Path) -> None:
    first, second = [await setup.put(_adapter(tmp_path, number)) for number in (1, 2)]
    with setup.host.using(first), setup.host.using(second), pytest.raises(QueueFull, match="are in use"):
        await setup.put(_adapter(tmp_path, 3))
    assert setup.on_disk == sorted([first, second])


async def test_what_the_engine_refuses_leaves_nothing(setup: _Setup, tmp_path: Path) -> None:
    first, _ = [await setup.put(_adapter(tmp_path, number)) for number in (1, 2)]
    files = _adapter(tmp_path, 3)
    setup.engine.refused.add(header_of(files).digest)
    with pytest.raises(InvalidRequest, match="cannot load it"):
        await setup.put(files)

    with setup.host.using(first):
        pass
    assert len(setup.host.digests) == len(setup.on_disk) == 2


async def test_a_larger_rank_is_refused(setup: _Setup, tmp_path: Path) -> None:
    with pytest.raises(InvalidRequest, match="rank 5, and workers of m:latest take at most 4"):
        await setup.put(_adapter(tmp_path, 1, rank=5))
    assert setup.on_disk == []


async def test_other_bytes_than_announced_are_refused(setup: _Setup, tmp_path: Path) -> None:
    files = _adapter(tmp_path, 1)
    name = "adapter_model.safetensors"
    header = header_of(files)
    wrong = {
        "other bytes than its digest": {**files, name: files[name][:-1] + b"x"},
        "ended before the length": {**files, name: files[name][:-1]},
        "more bytes were sent": {**files, name: files[name] + b"x"},
    }
    for reason, sent in wrong.items():
        with pytest.raises(InvalidRequest, match=reason):
            await setup.host.put(parts_of(header, sent))
    assert setup.on_disk == []


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (
            lambda header: header.files[0].MergeFrom(pb.AdapterFile(name="../x")),
            "an adapter is adapter.gguf, or",
        ),
        (lambda header: header.files[0].MergeFrom(pb.AdapterFile(sha256="0")), "not 64 hex digits"),
        (lambda header: header.MergeFrom(pb.AdapterHeader(digest="0" * 64)), "not that of its files"),
        (lambda header: header.files[1].MergeFrom(pb.AdapterFile(size_bytes=2**60)), "keeps at most 0 MiB"),
    ],
)
async def test_a_header_that_cannot_be_is_refused_unread(
    setup: _Setup, tmp_path: Path, change: object, reason: str
) -> None:
    header = header_of(_adapter(tmp_path, 1))
    assert callable(change)
    change(header)

    async def parts() -> AsyncIterator[pb.AdapterPart]:
        yield pb.AdapterPart(header=header)
        raise AssertionError("more was read")

    with pytest.raises(InvalidRequest, match=reason):
        await setup.host.put(parts())
    assert setup.on_disk == []


async def test_a_restarted_worker_has_its_adapters_again(setup: _Setup, tmp_path: Path) -> None:
    digest = await setup.put(_adapter(tmp_path, 1))
    (setup.folder / ".upload-cut-off").mkdir()
    (setup.folder / "not-ours").mkdir()

    await setup.host.stop()
    again = _Setup(tmp_path)
    await again.host.start()

    assert again.host.digests == [digest]
    assert again.on_disk == [digest, "not-ours"]
    assert again.engine.sets == [[digest]]


async def test_a_restarted_worker_keeps_the_newest_for_which_there_is_room(
    setup: _Setup, tmp_path: Path
) -> None:
    first, second = [await setup.put(_adapter(tmp_path, number)) for number in (1, 2)]
    for age, digest in enumerate((second, first)):
        os.utime(setup.folder / digest, (1000 - age, 1000 - age))
    await setup.host.stop()

    again = _Setup(tmp_path, AdapterLimits(count=1, total_bytes=100_000, rank=4))
    await again.host.start()
    assert again.on_disk == again.host.digests == [second]
    assert again.engine.sets == [[second]]
    await again.host.stop()

    smaller = _Setup(tmp_path, AdapterLimits(count=1, total_bytes=10, rank=4))
    await smaller.host.start()
    assert smaller.on_disk == smaller.host.digests == []


async def test_a_folder_of_another_worker_is_left_alone(setup: _Setup, tmp_path: Path) -> None:
    digest = await setup.put(_adapter(tmp_path, 1))
    other = _Setup(tmp_path, AdapterLimits(count=1, total_bytes=10, rank=4))
    with pytest.raises(OSError, match="another worker uses this folder"):
        await other.host.start()
    assert setup.on_disk == [digest]


async def test_a_kept_adapter_that_the_engine_refuses_is_removed(setup: _Setup, tmp_path: Path) -> None:
    first, second = [await setup.put(_adapter(tmp_path, number)) for number in (1, 2)]
    await setup.host.stop()

    again = _Setup(tmp_path)
    again.engine.refused.add(first)
    await again.host.start()

    assert again.on_disk == again.host.digests == [second]


async def test_a_deleted_adapter_is_refused_at_once(setup: _Setup, tmp_path: Path) -> None:
    digest = await setup.put(_adapter(tmp_path, 1))
    assert setup.host.delete(digest)
    assert not setup.host.delete(digest)
    with pytest.raises(AdapterMissing), setup.host.using(digest):
        pass

    other = await setup.put(_adapter(tmp_path, 2))

    assert setup.engine.sets == [[digest], [], [other]]
    assert setup.on_disk == [other]


async def test_an_upload_whose_caller_leaves_is_used_all_the_same(setup: _Setup, tmp_path: Path) -> None:
    setup.engine.needs_idle = True
    setup.lifecycle.start(pinned=True, waiting_limit=8)
    async with setup.lifecycle.use():
        first = asyncio.create_task(setup.put(_adapter(tmp_path, 1)))
        await until(lambda: not setup.lifecycle._open.is_set(), 30, "the first change waits for requests")
        second = asyncio.create_task(setup.put(_adapter(tmp_path, 2)))
        await until(lambda: len(setup.host._tasks) == 2, 30, "the second change waits for the first")
        second.cancel()
        await asyncio.wait([second])
    await first
    await until(lambda: not setup.host._tasks, 30, "both changes are over")

    assert len(setup.host.digests) == 2
    assert setup.on_disk == sorted(setup.host.digests)


async def test_one_that_a_conversion_makes_too_large_is_refused_for_good(
    setup: _Setup, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def converted(digest: str, folder: Path, model: pb.Model, max_rank: int) -> Adapter:
        return replace(read_adapter(digest, folder), size_bytes=_LIMITS.total_bytes + 1)

    monkeypatch.setattr("engine_worker.adapter_host.read_fitting", converted)
    with pytest.raises(InvalidRequest, match="has 100001 bytes, and the worker keeps at most"):
        await setup.put(_adapter(tmp_path, 1))
    assert setup.on_disk == []


async def test_an_operators_adapter_stays(setup: _Setup, tmp_path: Path) -> None:
    folder = tmp_path / "named"
    _adapter(folder, 1)
    found = find_named(folder)
    await setup.host.hold(found)
    held = found[0].named.adapter.digest
    for number in (2, 3):
        await setup.put(_adapter(tmp_path, number))

    described = pb.Model()
    setup.host.describe(described)
    assert [(each.name, each.adapter.digest) for each in described.named_adapters] == [("1:latest", held)]
    assert not setup.host.delete(held)
    assert held in setup.host.digests
    assert len(setup.host.digests) == 2
    assert sorted(path.name for path in (folder / "1").iterdir()) == [
        "adapter_config.json",
        "adapter_model.safetensors",
    ]


async def test_an_applied_adapter_is_every_requests_own(setup: _Setup, tmp_path: Path) -> None:
    """Also on engines that know nothing of it, the model is another one, and takes no other adapter."""
    _adapter(tmp_path, 1)
    files = adapter_at(tmp_path / "1", "adapter")
    await setup.host.apply(files)
    digest = files.named.adapter.digest
    request = pb.GenerateRequest()
    with in_use(setup.host, request):
        assert request.adapter == digest
    assert not setup.host.delete(digest)
    described = setup.engine.model()
    described.digest = "a" * 64
    setup.host.describe(described)
    assert not described.capabilities.safetensors_adapters
    assert described.digest != "a" * 64
    assert list(described.named_adapters) == []


async def test_an_operators_adapter_that_does_not_fit_is_refused(setup: _Setup, tmp_path: Path) -> None:
    _adapter(tmp_path / "named", 1, rank=5)
    with pytest.raises(InvalidRequest, match="1:latest: adapters: the adapter has rank 5"):
        await setup.host.hold(find_named(tmp_path / "named"))
    assert setup.on_disk == []


async def test_all_adapters_of_the_operator_take_one_change_of_the_engine(
    setup: _Setup, tmp_path: Path
) -> None:
    for number in (1, 2):
        _adapter(tmp_path / "named", number)
    found = find_named(tmp_path / "named")
    await setup.host.hold(found)
    digests = [files.named.adapter.digest for files in found]

    assert setup.engine.sets == [digests]
    with pytest.raises(QueueFull, match="all 2 adapters"):
        await setup.put(_adapter(tmp_path, 3))

    _adapter(tmp_path / "named", 3)
    with pytest.raises(InvalidRequest, match=r"there are 3 adapters, and the worker has at most 2"):
        await setup.host.hold(find_named(tmp_path / "named"))


async def test_an_engine_that_needs_it_changes_only_between_requests(setup: _Setup, tmp_path: Path) -> None:
    setup.engine.needs_idle = True
    setup.lifecycle.start(pinned=True, waiting_limit=8)
    order: list[str] = []
    began = asyncio.Event()

    async def request(name: str) -> None:
        async with setup.lifecycle.use():
            began.set()
            order.append(name)
            await asyncio.sleep(0)

    async with setup.lifecycle.use():
        putting = asyncio.create_task(setup.put(_adapter(tmp_path, 1)))
        await until(lambda: not setup.lifecycle._open.is_set(), 30, "requests wait")
        late = asyncio.create_task(request("late"))
        await asyncio.sleep(0)
        assert setup.lifecycle.waiting == 1
        assert not setup.engine.sets
        order.append("early")
    await putting
    assert setup.engine.sets
    await late

    assert order == ["early", "late"]
