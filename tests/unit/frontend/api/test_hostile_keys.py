"""Hostile headers on a server with keys: each is refused, soon and at bounded cost."""

from __future__ import annotations

import asyncio
import json
import re
import time
from base64 import b64encode
from pathlib import Path

import pytest

from frontend.access.secret import digest_of, new_secret
from frontend.access.stored_key import Digest, KeyDocument
from tests.support.access_keys import add_key, bearer, id_in, rows_of
from tests.unit.frontend.api.conftest import Frontend, Start
from tests.unit.frontend.api.preset_requests import HELLO, worker

_DEADLINE_SECONDS = 30.0


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'presets.sqlite3'}"


async def _raw(frontend: Frontend, *headers: bytes, body: bytes = b"") -> bytes:
    """The status line of a response to headers as they are."""
    reader, writer = await asyncio.open_connection("127.0.0.1", frontend.port)
    try:
        async with asyncio.timeout(_DEADLINE_SECONDS):
            head = (
                b"POST /api/chat HTTP/1.1",
                b"Host: localhost",
                b"Content-Length: %d" % len(body),
                *headers,
            )
            writer.write(b"\r\n".join(head) + b"\r\n\r\n" + body)
            return await reader.readline()
    finally:
        writer.close()


def _headers(secret: bytes) -> list[tuple[bytes, ...]]:
    """What a valid secret is hidden in."""
    key = b"Authorization: Bearer " + secret
    return [
        (),
        (key, key),
        (b"Authorization: Bearer none", key),
        (b"X-Api-Key: " + secret, b"x-api-key: " + secret),
        (b"Authorization: Bearer",),
        (b"Authorization: Bearer " + secret + b" " + secret,),
        (b"Authorization: Bearer " + secret + b"\xff",),
        (b"Authorization: Bearer \xc3\xa4" + secret,),
        (b"Authorization: Bearer " + secret * 50,),
        (b"Authorization: Bearer " + b"A" * 60_000,),
        (b"Authorization: Basic " + b"A" * 60_000,),
        (b"Authorization: Basic " + b64encode(secret + b":" + secret[:-1]),),
        (b"Authorization: Basic \xff\xff",),
        (b"Authorization: Negotiate " + secret,),
        (b"X-Api-Key: Bearer " + secret,),
        (b"Cookie: drover_console=" + secret,),
        (b"Cookie: key=" + secret,),
        (b"Proxy-Authorization: Bearer " + secret,),
    ]


async def test_headers_that_hide_a_valid_key_are_refused(start: Start, url: str) -> None:
    secret = (await add_key(url, "alice")).encode()
    async with start(worker(), database_url=url) as frontend:
        answers = await asyncio.gather(*(_raw(frontend, *headers) for headers in _headers(secret)))
    for headers, answer in zip(_headers(secret), answers, strict=True):
        assert b" 401 " in answer, headers


async def test_a_refusal_does_not_wait_for_the_body(start: Start, url: str) -> None:
    await add_key(url, "alice")
    async with start(worker(), database_url=url) as frontend:
        answer = await _raw(frontend, b"Expect: 100-continue", b"X-Api-Key: none", body=b"")
        assert b" 401 " in answer
        large = await frontend.client.post("/api/chat", content=b" " * 2_000_000)
        assert large.status_code == 401
        assert (await frontend.client.get("/")).status_code == 200


async def test_a_flood_of_wrong_keys_does_not_slow_a_right_one(start: Start, url: str) -> None:
    secret = await add_key(url, "alice")
    wrong = [f"drv_{id_in(secret)}_{number:043d}" for number in range(300)]
    body = json.dumps({"model": "m", "messages": HELLO, "stream": False})
    async with start(worker(), database_url=url) as frontend:
        assert (await frontend.client.get("/api/tags", headers=bearer(secret))).status_code == 200
        flood = [
            asyncio.create_task(frontend.client.get("/api/tags", headers=bearer(each))) for each in wrong
        ]
        began = time.monotonic()
        answer = await frontend.client.post("/api/chat", content=body, headers=bearer(secret))
        assert answer.status_code == 200
        assert time.monotonic() - began < 2.0
        assert {(await each).status_code for each in flood} == {401}


async def test_thousands_of_keys_are_all_known(start: Start, url: str) -> None:
    first, last = await add_key(url, "alice"), new_secret("k2999")
    document = KeyDocument(name="k", digests=(Digest(text=digest_of(last)),)).model_dump_json()
    async with rows_of(url) as rows, rows.database.transaction() as connection:
        await connection.run("UPDATE access_key_state SET revision = 3001")
        for number in range(3_000):
            await connection.run(
                "INSERT INTO access_keys (id, document, revision) VALUES ($1, $2, $3)",
                *(f"k{number}", document, 2 + number),
            )
    async with start(worker(), database_url=url) as frontend:
        for secret, status in ((first, 200), (last, 200), (new_secret("k2999"), 401)):
            assert (await frontend.client.get("/api/tags", headers=bearer(secret))).status_code == status


async def test_each_of_several_requests_on_a_connection_has_its_own_key(start: Start, url: str) -> None:
    """Also where they are sent without waiting for the responses."""
    may, may_not = await add_key(url, "alice"), await add_key(url, "bob", models=("other",))
    lines = [b"Authorization: Bearer " + secret.encode() for secret in (may, may_not, may)]
    async with start(worker(), database_url=url) as frontend:
        reader, writer = await asyncio.open_connection("127.0.0.1", frontend.port)
        for line in (*lines, b"X-None: x"):
            writer.write(b"GET /api/tags HTTP/1.1\r\nHost: localhost\r\n" + line + b"\r\n\r\n")
        answers = []
        async with asyncio.timeout(_DEADLINE_SECONDS):
            for _ in range(4):
                head = await reader.readuntil(b"\r\n\r\n")
                found = re.search(rb"content-length: (\d+)", head)
                assert found is not None
                answers.append((head.split()[1], b"m:latest" in await reader.readexactly(int(found[1]))))
        writer.close()
    assert answers == [(b"200", True), (b"200", False), (b"200", True), (b"401", False)]
