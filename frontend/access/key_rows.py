"""Keys as database rows. Rows are never deleted: a server that has had a key stays closed without one.

Every change increments the keys' revision and stores it in its row, so that one read shows whether anything
has changed, and a second one what.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from pydantic import ValidationError

from drover import logs
from drover.errors import InvalidRequest
from frontend.access.stored_key import MAX_ENDED_SESSIONS, EndedSession, KeyDocument, StoredKey
from frontend.database.base import Connection
from frontend.database.database import Database
from frontend.database.revision import Revision

_log = logging.getLogger("drover.keys")
_REVISION = Revision("access_key_state")
_BATCH = 500
MAX_KEYS = 100_000


@dataclass(frozen=True, slots=True)
class KeyChanges:
    """`keys`: by id, None for a row that cannot be read. `from_start`: the keys known before are void.
    `more`: rows follow.
    """

    revision: int
    keys: Mapping[str, StoredKey | None]
    from_start: bool = False
    more: bool = False


class KeyRows:
    def __init__(self, database: Database) -> None:
        self.database = database

    async def after(self, seen: int) -> KeyChanges:
        """The next batch of changes after the revision `seen`. Raises StoreUnavailable."""
        async with self.database.transaction() as connection:
            revision = await _REVISION.read(connection)
            if revision == seen:
                return KeyChanges(revision, {})
            # A database that was restored to an older state is read from the beginning.
            from_start = revision < seen
            found = await connection.rows(
                "SELECT id, document, revision FROM access_keys WHERE revision > $1 "
                f"ORDER BY revision LIMIT {_BATCH}",
                -1 if from_start else seen,
            )
        more = len(found) == _BATCH
        keys = {key_id: _read(key_id, document) for key_id, document, _ in found}
        return KeyChanges(int(found[-1][2]) if more else revision, keys, from_start, more)

    async def all(self) -> list[StoredKey]:
        """Every key, the oldest first. Raises StoreUnavailable."""
        async with self.database.transaction() as connection:
            return await _all(connection)

    async def find(self, name_or_id: str) -> StoredKey:
        """The key of an id, or the one of a name that is not revoked. Raises InvalidRequest."""
        async with self.database.transaction() as connection:
            return await _find(connection, name_or_id)

    async def add(self, key_id: str, document: KeyDocument) -> StoredKey:
        """Raises InvalidRequest if a key that is not revoked has the name."""
        async with self.database.transaction() as connection:
            revision = await _REVISION.increment(connection)
            known = await _all(connection)
            if len(known) >= MAX_KEYS:
                raise InvalidRequest(f"there are {len(known)} keys already, as many as the database keeps")
            for each in known:
                if each.revoked_unix is None and each.key.name == document.name:
                    raise InvalidRequest(
                        f"there is a key named '{document.name}' already (id {each.key.id}); choose another "
                        f"name, or give it a new secret: keys rotate {each.key.id}"
                    )
            await connection.run(
                "INSERT INTO access_keys (id, document, revision) VALUES ($1, $2, $3)",
                *(key_id, document.model_dump_json(), revision),
            )
        return StoredKey.of(key_id, document)

    async def change(self, key_id: str, **fields: object) -> StoredKey:
        """Replace fields of its document. Raises InvalidRequest for an unknown id, and ValidationError."""
        return await self._update(key_id, lambda document: fields)

    async def end_session(self, key_id: str, ended: EndedSession, now: float) -> None:
        """Add it to those of the key that have not expired. Raises as `change`."""

        def added(document: KeyDocument) -> Mapping[str, object]:
            kept = [each for each in document.ended_sessions if each.until_unix > now]
            return {"ended_sessions": (*kept, ended)[-MAX_ENDED_SESSIONS:]}

        await self._update(key_id, added)

    async def _update(self, key_id: str, changes: Callable[[KeyDocument], Mapping[str, object]]) -> StoredKey:
        async with self.database.transaction() as connection:
            revision = await _REVISION.increment(connection)
            rows = await connection.rows("SELECT document FROM access_keys WHERE id = $1", key_id)
            if not rows:
                raise InvalidRequest(f"there is no key '{key_id}'")
            known = KeyDocument.model_validate_json(rows[0][0])
            text = known.model_copy(update=changes(known)).model_dump_json()
            # A copy is not validated, and a row that cannot be read is lost to all commands.
            document = KeyDocument.model_validate_json(text)
            await connection.run(
                "UPDATE access_keys SET document = $1, revision = $2 WHERE id = $3", text, revision, key_id
            )
        return StoredKey.of(key_id, document)


def _read(key_id: str, document: str) -> StoredKey | None:
    """None for a row that cannot be read: its key is refused, the others stay usable."""
    try:
        return StoredKey.of(key_id, KeyDocument.model_validate_json(document))
    except ValidationError as error:
        count = error.error_count()
        logs.event(_log, logging.ERROR, "key cannot be read and is refused", key=key_id, problems=count)
        return None


async def _all(connection: Connection) -> list[StoredKey]:
    rows = await connection.rows("SELECT id, document FROM access_keys")
    keys = [key for key_id, document in rows if (key := _read(key_id, document)) is not None]
    return sorted(keys, key=lambda each: (each.created_unix, each.key.id))


async def _find(connection: Connection, name_or_id: str) -> StoredKey:
    known = await _all(connection)
    found = [each for each in known if each.key.id == name_or_id]
    found = found or [each for each in known if each.key.name == name_or_id and each.revoked_unix is None]
    if found:
        return found[0]
    revoked = any(each.key.name == name_or_id for each in known)
    state = "is revoked" if revoked else "is not there"
    raise InvalidRequest(f"the key '{name_or_id}' {state}; `keys list` shows all names and ids")
