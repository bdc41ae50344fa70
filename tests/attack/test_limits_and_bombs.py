"""Bodies at each limit and just above it, and small ones that decompress to large ones."""

from __future__ import annotations

import asyncio
import base64
import gzip
import json
import struct
import zlib
from collections.abc import Sequence
from pathlib import Path

import httpx
import pytest
import zstandard

from frontend.api.core.body import MAX_UNPACKED_BYTES
from frontend.api.core.go_json import MAX_BRACKETS
from frontend.middleware.held_bodies import FREE_BYTES
from tests.attack.figures import Figures
from tests.attack.rude import ATTACKER, chat, connections, for_seconds, request
from tests.attack.scene import SHORT, Scene, attacked

_MEGABYTE = 1024 * 1024
_LONGEST = 32 * _MEGABYTE
_BLOB = 4 * _MEGABYTE
_HELD = 2 * _LONGEST
# Less than a body may take to arrive (scene.SHORT).
_HOLD_SECONDS = 2.0
_LIMITS = (
    *SHORT, "--max-body-bytes", str(_LONGEST), "--max-blob-bytes", str(_BLOB),
    "--max-held-body-bytes", str(_HELD),
)  # fmt: skip


def _text_of(length: int) -> bytes:
    """A chat whose body is exactly so long."""
    begin, end = (
        b'{"model":"sim","stream":false,"messages":[{"role":"user","content":"',
        b'"}],"options":{"num_predict":1}}',
    )
    return begin + b"a" * (length - len(begin) - len(end)) + end


def _client(url: str) -> httpx.AsyncClient:
    transport = httpx.AsyncHTTPTransport(local_address=ATTACKER)
    return httpx.AsyncClient(base_url=url, transport=transport, timeout=60, trust_env=False)


async def _statuses(scene: Scene, bodies: Sequence[tuple[str, bytes, dict[str, str]]]) -> list[int]:
    async with _client(scene.url) as http:
        return [
            (await http.post(path, content=data, headers=headers)).status_code
            for path, data, headers in bodies
        ]


async def test_bodies_at_each_limit_and_just_over(tmp_path: Path, figures: Figures) -> None:
    digest = "/api/blobs/sha256:" + "0" * 64
    brackets = b'{"model":"sim","messages":[{"role":"user","content":"x"}],"format":%b}'
    deep = brackets % (b"[" * (MAX_BRACKETS - 3) + b"]" * (MAX_BRACKETS - 3))
    flat = b"[" + b"[]," * (MAX_BRACKETS - 10) + b"1]"
    names = b",".join(b'"%d":1' % number for number in range(2_000_000))
    messages = b'{"model":"sim","messages":[' + b'{"role":"user"},' * 20_000 + b'{"role":"user"}]}'
    async with attacked(tmp_path, figures, _LIMITS) as scene:
        statuses = await _statuses(
            scene,
            [
                ("/api/chat", _text_of(_LONGEST), {}),
                ("/api/chat", _text_of(_LONGEST + 1), {}),
                ("/v1/chat/completions", _text_of(_LONGEST), {}),
                ("/v1/chat/completions", _text_of(_LONGEST + 1), {}),
                (digest, b"x" * _BLOB, {}),
                (digest, b"x" * (_BLOB + 1), {}),
                ("/api/chat", deep, {}),
                ("/api/chat", brackets % flat, {}),
                ("/api/chat", brackets % (b'{"enum":' + flat + b"}"), {}),
                ("/api/chat", brackets % (b"[" + b"[]," * MAX_BRACKETS + b"1]"), {}),
                ("/api/chat", messages, {}),
                ("/api/chat", b'{"options":{' + names + b"}}", {}),
                ("/api/chat", b'{"model":"sim","context":[' + b"1," * (_LONGEST // 2 - 100) + b"1]}", {}),
                ("/api/chat", b"[" * _LONGEST, {}),
                ("/api/chat", b'"' * _LONGEST, {}),
            ],
        )
    # A prompt of 32 MB is too long for the model, or cut; nothing of it is the frontend's failure.
    assert statuses[0] in (200, 400)
    assert statuses[1:6] == [413, statuses[0], 413, 400, 413]
    # A format that is no object is 500 in Ollama.
    assert statuses[6:8] == [400, 500]
    assert statuses[8:] == [400] * 7


async def test_bombs_of_zstd_and_gzip(tmp_path: Path, figures: Figures) -> None:
    fits = zstandard.compress(_text_of(MAX_UNPACKED_BYTES))
    over = zstandard.compress(b" " * (MAX_UNPACKED_BYTES + 1))
    arrays = zstandard.compress(b"[" + b"[]," * (MAX_UNPACKED_BYTES // 3 - 1) + b"1]")
    packed = {"content-encoding": "zstd"}
    async with attacked(tmp_path, figures, _LIMITS) as scene:
        statuses = await _statuses(
            scene,
            [
                ("/v1/chat/completions", fits, packed),
                ("/v1/chat/completions", over, packed),
                ("/v1/chat/completions", arrays, packed),
                ("/v1/chat/completions", gzip.compress(b" " * _LONGEST), {"content-encoding": "gzip"}),
                ("/api/chat", fits, packed),
            ],
        )
        together = await asyncio.gather(
            *(_statuses(scene, [("/v1/chat/completions", over, packed)] * 3) for _ in range(20))
        )
    assert len(over) < 10_000
    assert statuses[0] in (200, 400)
    assert statuses[1:] == [400] * 4
    assert {status for each in together for status in each} <= {400, 503}


async def test_bombs_of_images(tmp_path: Path, figures: Figures) -> None:
    """A picture of 40,000 by 40,000 points in one colour has 200 kB: the frontend does not unpack it."""
    side = 40_000
    row = zlib.compress(b"\0" * (side // 8 + 1) * side, 9)
    header = struct.pack(">IIBBBBB", side, side, 1, 0, 0, 0, 0)
    picture = b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", header) + _chunk(b"IDAT", row) + _chunk(b"IEND", b"")
    encoded = base64.b64encode(picture).decode()
    native = {"model": "sim", "messages": [{"role": "user", "content": "x", "images": [encoded] * 20}]}
    url = {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{encoded}"}}
    openai = {"model": "sim", "messages": [{"role": "user", "content": [url] * 20}]}
    async with attacked(tmp_path, figures, _LIMITS) as scene:
        statuses = await _statuses(
            scene,
            [
                ("/api/chat", json.dumps(native).encode(), {}),
                ("/v1/chat/completions", json.dumps(openai).encode(), {}),
            ],
        )
    assert statuses == [400, 400]


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


@pytest.mark.parametrize("path", ["/api/chat", "/v1/messages", "/api/blobs/sha256:" + "0" * 64])
async def test_large_bodies_that_are_never_finished(tmp_path: Path, figures: Figures, path: str) -> None:
    """Fifty that are nearly there would be 200 MB and more."""
    length = _BLOB - 1
    async with attacked(tmp_path, figures, _LIMITS) as scene, connections(scene.port, 50) as floods:
        sent = await asyncio.gather(
            *(each.send(request(path, b" " * (length - 1000), length=length)) for each in floods)
        )
        answers = await asyncio.gather(*(each.answer(b"}") for each in floods))
    statuses = [answer[9:12] for answer in answers]
    figures.notes.append(f"{sum(sent)} of 50 were taken, {statuses.count(b'503')} refused as busy")
    assert set(statuses) <= {b"503", b"504", b"529"}
    # An address has half of what may be held.
    assert statuses.count(b"504") <= _HELD // 2 // (length - 1000 - FREE_BYTES) + 1
    assert figures.peak_mb < 114 + 3 * _HELD / 1e6


async def test_a_small_body_is_served_while_others_hold_all(tmp_path: Path, figures: Figures) -> None:
    """For as long as they may."""

    async def small() -> None:
        async with connections(scene.port, 1, "127.0.0.68") as third:
            await third[0].send(chat(stream=False))
            assert (await third[0].answer(b'"done":true')).startswith(b"HTTP/1.1 200")

    async with (
        attacked(tmp_path, figures, _LIMITS) as scene,
        connections(scene.port, 20) as first,
        connections(scene.port, 20, "127.0.0.67") as second,
    ):
        for each in [*first, *second]:
            await each.send(request("/api/chat", b" " * (_LONGEST // 10), length=_LONGEST))
        served = await for_seconds(_HOLD_SECONDS, small)
    figures.notes.append(f"{served} small ones were served")
