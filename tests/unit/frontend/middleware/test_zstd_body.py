"""Compressed bodies: decompressed, and no further than allowed."""

from __future__ import annotations

import pytest
import zstandard

from drover.errors import InvalidRequest
from frontend.api.core.body import MAX_UNPACKED_BYTES, decompressed


@pytest.mark.parametrize("body", [b"", b"{}", b"x" * MAX_UNPACKED_BYTES])
def test_bodies_within_the_limit_are_decompressed(body: bytes) -> None:
    assert decompressed(zstandard.compress(body)) == body


def test_several_frames_are_concatenated() -> None:
    assert decompressed(zstandard.compress(b'{"a":') + zstandard.compress(b"1}")) == b'{"a":1}'


def test_a_bomb_is_refused() -> None:
    bomb = zstandard.compress(b" " * (MAX_UNPACKED_BYTES + 1))
    assert len(bomb) < 10_000

    with pytest.raises(InvalidRequest, match="too large"):
        decompressed(bomb)


def test_a_frame_with_a_large_window_is_refused() -> None:
    parameters = zstandard.ZstdCompressionParameters(window_log=27, enable_ldm=True)
    packer = zstandard.ZstdCompressor(compression_params=parameters).compressobj()
    body = packer.compress(b"x" * 1_000_000) + packer.flush()

    with pytest.raises(InvalidRequest, match="cannot be unpacked"):
        decompressed(body)


def test_other_bytes_are_refused() -> None:
    with pytest.raises(InvalidRequest, match="cannot be unpacked as zstd"):
        decompressed(b"{}")
