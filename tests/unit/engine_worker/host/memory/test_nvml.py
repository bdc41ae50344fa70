"""What is asked of the driver, through the real nvidia-ml-py, with a stand-in for the library behind it."""

from __future__ import annotations

import pynvml
import pytest

from engine_worker.host.memory import nvml
from engine_worker.host.memory.base import NoGpus
from engine_worker.host.memory.nvml import open_gpus
from tests.fakes.nvml import FakeGpu, FakeNvml

GIB = 1 << 30


@pytest.fixture
def library(monkeypatch: pytest.MonkeyPatch) -> FakeNvml:
    """Two whole GPUs, and one in two parts."""
    parts = (FakeGpu("MIG-1", 3 * GIB), FakeGpu("MIG-2", 4 * GIB))
    library = FakeNvml(
        FakeGpu("GPU-a", 8 * GIB, {7: GIB}),
        FakeGpu("GPU-b", 16 * GIB),
        FakeGpu("GPU-c", 80 * GIB, parts=parts),
    )
    library.install(monkeypatch)
    return library


@pytest.mark.parametrize(
    ("visible", "expected"),
    [
        (None, ["GPU-a", "GPU-b", "MIG-1", "MIG-2"]),
        ("1,0", ["GPU-b", "GPU-a"]),
        ("GPU-b,MIG-2", ["GPU-b", "MIG-2"]),
        # As CUDA reads it: what follows the first that is none does not count.
        ("0,9,1", ["GPU-a"]),
        # Of a divided GPU there are only the parts.
        ("2", []),
        ("", []),
        ("-1", []),
    ],
)
def test_the_devices_are_those_that_cuda_would_use(
    library: FakeNvml, visible: str | None, expected: list[str]
) -> None:
    assert [each.id for each in open_gpus(visible).devices] == expected


def test_what_is_taken_of_a_device(library: FakeNvml) -> None:
    driver = open_gpus(None)
    first, second, part, _ = driver.devices
    assert (first.number, first.total_bytes, part.number, part.total_bytes) == (0, 8 * GIB, None, 3 * GIB)
    library.gpus[0].hidden = 2 * GIB
    use = driver.read(first)
    assert use is not None
    assert (use.used_bytes, use.by_pid) == (3 * GIB, {7: GIB})
    assert driver.read(second) is not None
    library.is_lost = True
    assert driver.read(first) is None


def test_without_a_driver_or_the_package_there_are_no_gpus(
    library: FakeNvml, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(library, "nvmlInitWithFlags", lambda flags: pynvml.NVML_ERROR_DRIVER_NOT_LOADED)
    assert isinstance(open_gpus(None), NoGpus)
    monkeypatch.setattr(nvml, "pynvml", None)
    assert isinstance(open_gpus(None), NoGpus)
