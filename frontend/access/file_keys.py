"""The keys of `--keys-file`, in memory, and read again when the file changes."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from pathlib import Path

from drover import logs
from frontend.access.fast_digest import FastDigest
from frontend.access.keys_file import Signature, read_keys, signature_of
from frontend.access.stored_key import StoredKey

_log = logging.getLogger("drover.keys")
POLL_SECONDS = 0.5


class FileKeys:
    """While the file cannot be read, or has an error, the keys read last stay valid."""

    def __init__(self, path: Path, digest: FastDigest, poll_seconds: float = POLL_SECONDS) -> None:
        """Reads the file. Raises ValueError."""
        self._path = path
        self._digest = digest
        self._poll_seconds = poll_seconds
        self._keys: Mapping[str, StoredKey] = {}
        self._plain: Mapping[bytes, str] = {}
        self._problem = ""
        self._poller: asyncio.Task[None] | None = None
        self._seen: Signature | None = None
        self._read()

    async def start(self) -> None:
        self._poller = asyncio.create_task(self._poll(), name="poll the keys file")

    async def stop(self) -> None:
        if self._poller is not None:
            self._poller.cancel()
            await asyncio.wait({self._poller})

    @property
    def all(self) -> Mapping[str, StoredKey]:
        return self._keys

    def of_plain(self, fast: bytes) -> StoredKey | None:
        """The key whose plain secret has this digest."""
        key_id = self._plain.get(fast)
        return None if key_id is None else self._keys.get(key_id)

    async def _poll(self) -> None:
        while True:
            await asyncio.sleep(self._poll_seconds)
            await asyncio.to_thread(self._refresh)

    def _refresh(self) -> None:
        """Runs in a thread; it replaces whole mappings."""
        try:
            self._read()
        except (OSError, ValueError) as error:
            self._report(str(error))
        except Exception as error:  # noqa: BLE001 - else a removed key would stay valid until a restart
            self._report(type(error).__name__)
        else:
            self._problem = ""

    def _read(self) -> None:
        try:
            seen = signature_of(self._path)
        except OSError as error:
            raise ValueError(f"{error.filename or self._path}: {error.strerror}") from error
        if seen == self._seen:
            return
        contents = read_keys(self._path)
        self._plain = {self._digest(secret.encode()): key_id for secret, key_id in contents.plain.items()}
        self._keys = contents.keys
        self._seen = seen
        logs.event(_log, logging.INFO, "keys file read", file=str(self._path), keys=len(contents.keys))

    def _report(self, problem: str) -> None:
        """Once for each problem."""
        if problem != self._problem:
            self._problem = problem
            logs.event(
                _log,
                logging.ERROR,
                "keys file cannot be read: the keys read last stay valid",
                file=str(self._path),
                reason=problem,
            )
