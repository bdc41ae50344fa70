"""Request bodies that came compressed with zstd, unpacked no further than they may be long."""

from __future__ import annotations

from io import BytesIO

from drover.errors import InvalidRequest

# Upstream's bound (ollama-contract.md, "Reading a request"), and the most memory that a frame may ask for.
MAX_UNPACKED_BYTES = 20 * 1024 * 1024
_MAX_WINDOW_BYTES = 8 * 1024 * 1024


def unpacked(body: bytes) -> bytes:
    """Raises InvalidRequest for what is no zstd, or is too long. Of what ends early there is less."""
    # Half a megabyte, and few clients compress.
    import zstandard

    reader = zstandard.ZstdDecompressor(max_window_size=_MAX_WINDOW_BYTES).stream_reader(
        BytesIO(body), read_across_frames=True
    )
    try:
        data = reader.read(MAX_UNPACKED_BYTES + 1)
    except zstandard.ZstdError as error:
        raise InvalidRequest(f"the body cannot be unpacked as zstd: {error}") from None
    if len(data) > MAX_UNPACKED_BYTES:
        raise InvalidRequest(
            f"request body too large: unpacked it may have at most {MAX_UNPACKED_BYTES} bytes"
        )
    return data
