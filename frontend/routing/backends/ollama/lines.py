"""The lines of a response, of bounded length."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator

from drover.errors import EngineFailed


async def lines_of(chunks: AsyncIterator[bytes], most_bytes: int) -> AsyncGenerator[list[bytes], None]:
    """Those that each piece completes, without empty ones. Raises EngineFailed for one that is too long."""
    rest = b""
    async for chunk in chunks:
        *whole, rest = (rest + chunk).split(b"\n") if b"\n" in chunk else (rest + chunk,)
        if len(rest) > most_bytes or any(len(line) > most_bytes for line in whole):
            raise EngineFailed(f"a line of the Ollama host is longer than {most_bytes} bytes")
        if lines := [line for line in whole if line.strip()]:
            yield lines
    if rest.strip():
        yield [rest]
