"""Bodies that never end, on every route: sent slowly, announced and not sent, in endless chunks."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from tests.attack.figures import Figures
from tests.attack.rude import connections, request
from tests.attack.scene import attacked
from tests.support.waiting import until

_ROUTES = (
    "/api/chat", "/api/generate", "/api/embed", "/api/embeddings", "/api/show", "/api/create", "/api/copy",
    "/api/pull", "/api/push", "/v1/chat/completions", "/v1/completions", "/v1/embeddings", "/v1/responses",
    "/v1/messages", "/v1/systemone", "/v1/decisions", "/rerank", "/v1/score", "/v1/classify",
    "/api/blobs/sha256:" + "0" * 64, "/api/nowhere",
)  # fmt: skip
_OF_EACH = 12
# Twice as long as it may take, for a busy machine.
_LATEST_SECONDS = 14.0
_EXPECT = b"expect: 100-continue"


@pytest.mark.parametrize(
    "begun", [b"", b'{"model":"sim","messages":[{"role":"user","content":"' + b"x" * 5000]
)
async def test_bodies_that_stop(tmp_path: Path, figures: Figures, begun: bytes) -> None:
    async with (
        attacked(tmp_path, figures) as scene,
        connections(scene.port, _OF_EACH * len(_ROUTES)) as slow,
    ):
        for number, each in enumerate(slow):
            headers = [_EXPECT] if number % 2 else []
            await each.send(request(_ROUTES[number % len(_ROUTES)], begun, *headers, length=10_000))
        answers = await asyncio.gather(*(each.answer(b"arrive within") for each in slow))
    assert len(answers) == len(slow)
    late = [answer for answer in answers if b"did not arrive within 3 seconds" in answer]
    assert len(late) == _OF_EACH * (len(_ROUTES) - 1)
    # /v1/responses has no status on which agents send a request again for what lasts.
    assert sum(b"HTTP/1.1 400 " in answer for answer in late) == _OF_EACH
    assert sum(b"HTTP/1.1 504 " in answer for answer in late) == _OF_EACH * (len(_ROUTES) - 2)


async def test_drips(tmp_path: Path, figures: Figures) -> None:
    """Each is answered when its time is over (3 s), and closed when the rest has not come by then (4 s)."""

    async def is_over() -> bool:
        await asyncio.sleep(0.1)
        return not any([await each.send(b" ") for each in slow])

    async with (
        attacked(tmp_path, figures) as scene,
        connections(scene.port, _OF_EACH * len(_ROUTES)) as slow,
    ):
        for number, each in enumerate(slow):
            await each.send(request(_ROUTES[number % len(_ROUTES)], b"{", length=10_000))
        await until(is_over, _LATEST_SECONDS, "the server no longer reads bodies that are late")


@pytest.mark.parametrize(
    "chunk", [b"1\r\n \r\n", b"1;" + b"x" * 1000 + b"\r\n \r\n"], ids=["tiny", "extended"]
)
async def test_endless_chunks(tmp_path: Path, figures: Figures, chunk: bytes) -> None:
    """As fast as the server takes them."""
    head = b"POST /api/chat HTTP/1.1\r\nhost: localhost\r\ntransfer-encoding: chunked\r\n\r\n"
    piece = chunk * (262_144 // len(chunk))
    async with attacked(tmp_path, figures) as scene, connections(scene.port, 20) as endless:

        async def flood(number: int) -> int:
            await endless[number].send(head)
            for count in range(400):
                if not await endless[number].send(piece):
                    return count
            return -1

        taken = await asyncio.gather(*map(flood, range(20)))
        figures.notes.append(f"at most {max(taken) * len(piece) // 1024} KiB of chunks were taken")
        assert -1 not in taken
