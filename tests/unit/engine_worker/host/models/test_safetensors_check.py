"""Headers of safetensors files that claim what is not so: refused soon, and with little memory."""

from __future__ import annotations

import json
import struct
import tracemalloc
from pathlib import Path

import pytest

from drover.errors import InvalidRequest
from engine_worker.host.models.safetensors_check import check_safetensors

MIB = 1 << 20
TENSOR = {"dtype": "F32", "shape": [2, 2], "data_offsets": [0, 16]}


def write(path: Path, header: bytes, claimed: int | None = None, data: int = 16) -> Path:
    length = len(header) if claimed is None else claimed
    path.write_bytes(struct.pack("<Q", length) + header + bytes(data))
    return path


def of(**tensor: object) -> bytes:
    return json.dumps({"w": TENSOR | tensor}).encode()


def test_a_whole_file(tmp_path: Path) -> None:
    header = json.dumps({"__metadata__": {"format": "pt"}, "w": TENSOR, "scalar": TENSOR | {"shape": []}})
    check_safetensors(write(tmp_path / "a", header.encode()), "a")


@pytest.mark.parametrize(
    "header",
    [
        b"[]",
        b"null",
        b"{",
        b"[" * 100_000,
        b'{"w": 1}',
        b'{"w": {}}',
        of(dtype=1),
        of(dtype="F" * 1000),
        of(shape="2"),
        of(shape=[-1]),
        of(shape=[True]),
        of(shape=["2"]),
        of(shape=[1 << 60]),
        of(shape=[1 << 49, 4]),
        of(shape=[1] * 100_000),
        of(data_offsets=[0]),
        of(data_offsets=[8, 0]),
        of(data_offsets=[-1, 8]),
        of(data_offsets=[0, 17]),
        of(data_offsets=[0, 1 << 70]),
    ],
)
def test_a_header_that_cannot_be_believed(tmp_path: Path, header: bytes) -> None:
    with pytest.raises(InvalidRequest, match="the-file"):
        check_safetensors(write(tmp_path / "a", header), "the-file")


@pytest.mark.parametrize("claimed", [0, 1, 17 + 16, 1 << 40, (1 << 64) - 1])
def test_a_length_that_the_file_does_not_have(tmp_path: Path, claimed: int) -> None:
    with pytest.raises(InvalidRequest, match="is not a safetensors file, or is cut off"):
        check_safetensors(write(tmp_path / "a", b"{}", claimed, data=0), "a")


def test_a_huge_header_is_not_read(tmp_path: Path) -> None:
    path = write(tmp_path / "a", b"{}", claimed=200 * MIB)
    with path.open("r+b") as file:
        # A hole, which takes no room on the disk.
        file.truncate(300 * MIB)
    tracemalloc.start()
    try:
        with pytest.raises(InvalidRequest, match="claims 209715200 bytes; at most 33554432 are read"):
            check_safetensors(path, "a")
        assert tracemalloc.get_traced_memory()[1] < MIB
    finally:
        tracemalloc.stop()
