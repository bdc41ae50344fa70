"""What models may take of GPUs, and what they take: over a stand-in for the driver's library."""

from __future__ import annotations

import os
from collections.abc import Callable
from types import SimpleNamespace
from typing import cast

import pytest

from engine_worker.host.memory.gpus import Gpus
from engine_worker.host.memory.nvml import open_gpus
from engine_worker.host.memory.placement import Placement
from engine_worker.host.models.base import StoredModel
from engine_worker.host.plan import State
from engine_worker.host.workers.child import Child
from tests.fakes.nvml import FakeGpu, FakeNvml

GIB = 1 << 30
MakeChild = Callable[..., Child]


@pytest.fixture
def library(monkeypatch: pytest.MonkeyPatch) -> FakeNvml:
    library = FakeNvml(FakeGpu("GPU-a", 10 * GIB), FakeGpu("GPU-b", 20 * GIB))
    library.install(monkeypatch)
    return library


@pytest.fixture
def gpus(library: FakeNvml) -> Gpus:
    return Gpus(open_gpus(None), 0)


def child(*gpus: str, gpu_bytes: int, state: State = State.READY, **before: int) -> Child:
    """Its process is this one."""
    made = SimpleNamespace(
        model=SimpleNamespace(is_simulated=False),
        place=SimpleNamespace(gpus=gpus),
        process=SimpleNamespace(pid=os.getpid()),
        gpu_bytes=gpu_bytes,
        gpu_measured_bytes=0,
        gpu_used_before={f"GPU-{name}": used for name, used in before.items()},
        state=state,
        is_pinned=False,
    )
    made.on_gpu_measured = lambda measured: Child.on_gpu_measured(cast(Child, made), measured)
    return cast(Child, made)


def budgets(gpus: Gpus) -> list[int]:
    return [each.budget_bytes for each in gpus.budgets]


def test_a_budget_is_nine_tenths_or_what_is_set(gpus: Gpus) -> None:
    assert budgets(gpus) == [9 * GIB, 18 * GIB]
    assert gpus.least_bytes == 9 * GIB
    assert budgets(Gpus(open_gpus("1"), 12 * GIB)) == [12 * GIB]
    assert budgets(Gpus(open_gpus("0"), 12 * GIB)) == [10 * GIB]


async def test_what_other_programs_take_is_not_for_models(library: FakeNvml, gpus: Gpus) -> None:
    library.gpus[0].by_pid[os.getpid()] = 2 * GIB
    library.gpus[0].by_pid[1] = 3 * GIB
    assert await gpus.measure([child("GPU-a", gpu_bytes=2 * GIB)])
    assert budgets(gpus) == [7 * GIB, 18 * GIB]
    del library.gpus[0].by_pid[1]
    assert await gpus.measure([child("GPU-a", gpu_bytes=2 * GIB)])
    assert budgets(gpus) == [9 * GIB, 18 * GIB]


async def test_what_a_model_takes_is_that_of_its_fullest_gpu(library: FakeNvml, gpus: Gpus) -> None:
    library.gpus[0].by_pid[os.getpid()], library.gpus[1].by_pid[os.getpid()] = 2 * GIB, 3 * GIB
    both = child("GPU-a", "GPU-b", gpu_bytes=GIB)
    assert await gpus.measure([both])
    assert (both.gpu_measured_bytes, both.gpu_bytes) == (3 * GIB, 3 * GIB)
    assert not await gpus.measure([both])


async def test_where_processes_are_hidden_the_difference_counts(library: FakeNvml, gpus: Gpus) -> None:
    """As in a container: of a load that has ended, and only of that."""
    loaded = child("GPU-a", gpu_bytes=3 * GIB, state=State.LOADING, a=GIB)
    library.gpus[0].hidden = 2 * GIB
    await gpus.measure([loaded])
    assert (loaded.gpu_measured_bytes, budgets(gpus)[0]) == (0, 9 * GIB)
    loaded.state, library.gpus[0].hidden = State.READY, 5 * GIB
    await gpus.measure([loaded])
    assert (loaded.gpu_measured_bytes, loaded.gpu_bytes) == (4 * GIB, 4 * GIB)
    library.gpus[0].hidden = 8 * GIB
    await gpus.measure([loaded])
    # The rest is foreign.
    assert (loaded.gpu_measured_bytes, budgets(gpus)[0]) == (4 * GIB, 6 * GIB)


async def test_a_driver_that_does_not_answer_changes_nothing(library: FakeNvml, gpus: Gpus) -> None:
    library.is_lost = True
    assert not await gpus.measure([child("GPU-a", gpu_bytes=GIB)])
    assert budgets(gpus) == [9 * GIB, 18 * GIB]
    assert gpus.place(("GPU-a",)).free_bytes == 10 * GIB


@pytest.mark.parametrize(
    ("chosen", "visible"),
    [((), ""), (("GPU-b",), "GPU-b"), (("GPU-b", "GPU-a"), "1,0")],
)
def test_a_worker_sees_its_own_gpus_only(gpus: Gpus, chosen: tuple[str, ...], visible: str) -> None:
    """Several by number: SGLang does not read ids there."""
    assert gpus.place(chosen).environment == {
        "CUDA_VISIBLE_DEVICES": visible,
        "CUDA_DEVICE_ORDER": "PCI_BUS_ID",
    }


def test_without_gpus_the_environment_stays() -> None:
    assert Gpus(open_gpus(None), 0).place(()) == Placement()


def test_sglang_takes_its_part_of_what_is_free(library: FakeNvml, gpus: Gpus) -> None:
    model = cast(StoredModel, SimpleNamespace(static_gpu_bytes=6 * GIB))
    library.gpus[1].hidden = 7 * GIB
    # Of 20 GiB 13 are free, of which CUDA takes one.
    assert gpus.place(("GPU-b",)).flags(model) == ("--gpu-memory-part", "0.5")
    assert gpus.place(()).flags(model) == ()
    library.gpus[1].hidden = 14 * GIB
    assert gpus.place(("GPU-b",)).flags(model) == ("--gpu-memory-part", "0.95")
