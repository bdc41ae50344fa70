"""All keys that this frontend knows, and whether requests need one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from drover.errors import StoreUnavailable
from frontend.access.database_keys import DatabaseKeys
from frontend.access.file_keys import FileKeys
from frontend.access.stored_key import StoredKey

# Longer than a database that answers takes; requests are refused until then.
_FIRST_READ_SECONDS = 1.0


@dataclass(slots=True)
class Keys:
    """`file`: None without one. `always_required`: also while there are no keys. `open_until_read`:
    requests need no key as long as the database has never answered, so that a server on loopback works
    without it.

    Once there has been a key, revoked or not, requests need one until this process ends.
    """

    database: DatabaseKeys
    file: FileKeys | None
    always_required: bool
    open_until_read: bool
    _are_required: bool = field(default=False, init=False)

    async def start(self) -> None:
        if self.file is not None:
            await self.file.start()
        # A database that hangs is waited for where the server would be open until it answers.
        await self.database.start(None if self.open_until_read else _FIRST_READ_SECONDS)

    async def stop(self) -> None:
        await self.database.stop()
        if self.file is not None:
            await self.file.stop()

    @property
    def are_used(self) -> bool:
        """Whether requests need a key as far as is known."""
        return self.always_required or bool(self.database.all)

    @property
    def are_open(self) -> bool:
        """Whether requests need no key."""
        if not self._are_required:
            self._are_required = self.are_used
        return not self._are_required and (self.database.has_loaded or self.open_until_read)

    def check_required(self) -> None:
        """Raises StoreUnavailable while it is not known whether requests need a key."""
        if not self._are_required and not self.database.has_loaded:
            raise _not_read()

    @property
    def all(self) -> Mapping[str, StoredKey]:
        """By id. The database's go before the file's."""
        of_file = {} if self.file is None else self.file.all
        return {**of_file, **self.database.all}

    def of_plain(self, fast: bytes) -> StoredKey | None:
        """The key of the file whose plain secret has this fast digest; None where the database has a key of
        that id, perhaps a revoked one.
        """
        found = None if self.file is None else self.file.of_plain(fast)
        return None if found is None or found.key.id in self.database.all else found

    def known(self, key_id: str) -> StoredKey | None:
        """Of the database, else of the file."""
        found = self.database.all.get(key_id)
        if found is None and self.file is not None:
            found = self.file.all.get(key_id)
        return found

    def find(self, key_id: str) -> StoredKey | None:
        """Raises StoreUnavailable for an unknown id while the database's keys have never been read."""
        found = self.known(key_id)
        if found is None and not self.database.has_loaded:
            raise _not_read()
        return found


def _not_read() -> StoreUnavailable:
    return StoreUnavailable("the database of this server's keys cannot be read right now; try again later")
