"""Keys for tests, made as `drover-frontend keys create` makes them."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from frontend.access.key_rows import KeyRows
from frontend.access.secret import digest_of, new_id, new_secret
from frontend.access.stored_key import Digest, KeyDocument
from frontend.database.database import Database
from frontend.database.url import parse_url

_CHEAP_LOG2_COST = 4


@asynccontextmanager
async def rows_of(url: str) -> AsyncIterator[KeyRows]:
    database = Database(parse_url(url), timeout_seconds=5.0)
    try:
        yield KeyRows(database)
    finally:
        await database.close()


async def add_key(url: str, name: str, **settings: object) -> str:
    """The secret of a new key. `settings`: as in `frontend.access.stored_key.KeySettings`."""
    key_id = new_id()
    secret = new_secret(key_id)
    document = KeyDocument(
        name=name,
        digests=(Digest(text=digest_of(secret, _CHEAP_LOG2_COST)),),
        created_unix=time.time(),
        **settings,
    )
    async with rows_of(url) as rows:
        await rows.add(key_id, document)
    return secret


def id_in(secret: str) -> str:
    return secret.split("_")[1]


def bearer(secret: str) -> dict[str, str]:
    return {"authorization": f"Bearer {secret}"}
