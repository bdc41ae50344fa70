"""Reload of certificates when their files change."""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections.abc import Callable
from typing import Generic, TypeVar

from drover import logs
from drover.tls.files import FileState, TlsFiles
from drover.tls.own_certificate import Role, own_certificate

_log = logging.getLogger("drover.tls")
_POLL_SECONDS = 1.0

Loaded = TypeVar("Loaded")


class Reloaded(Generic[Loaded]):
    """What `load` makes of the files: `current`, whose `version` grows with each change.

    Files are read again once they have not changed between two polls, since a certificate and its key are
    written one after the other. What cannot be used is logged and tried again; the former stays in use.
    """

    def __init__(self, files: TlsFiles, role: Role, load: Callable[[TlsFiles], Loaded], purpose: str) -> None:
        """`purpose`: what the certificate is for, in log lines. Raises ValueError for files that cannot be
        used. One that other sides will refuse, as it has expired, is logged only.
        """
        self.files = files
        self._role = role
        self._load = load
        self._purpose = purpose
        self._state: FileState = files.state()
        self._seen = self._state
        self._problem = ""
        self.version = 0
        self.expires_unix = 0.0
        """When it expires; 0 if the other side refuses it."""
        self.current = load(files)
        try:
            self._log_use("certificate loaded")
        except ValueError as error:
            self._log_problem(str(error), "it is used nevertheless")

    async def watch(self) -> None:
        """Poll for ever."""
        while True:
            await asyncio.sleep(_POLL_SECONDS)
            await asyncio.to_thread(self.poll)

    def poll(self) -> None:
        state, self._seen = self._seen, self.files.state()
        if self._seen == self._state or self._seen != state:
            return
        try:
            loaded = self._load(self.files)
            self._log_use("certificate reloaded")
        except ValueError as error:
            self._log_problem(str(error), "the one that was loaded before stays in use")
            return
        if self.files.state() == state:
            self.current, self._state, self._problem = loaded, state, ""
            self.version += 1

    def _log_use(self, event: str) -> None:
        """Raises ValueError for a certificate that the other side would refuse."""
        own = own_certificate(self.files, self._role)
        self.expires_unix = float(ssl.cert_time_to_seconds(own.expires))
        logs.event(
            _log,
            logging.INFO,
            event,
            purpose=self._purpose,
            certificate=str(self.files.certificate),
            names=own.names,
            expires=own.expires,
        )

    def _log_problem(self, problem: str, consequence: str) -> None:
        """Log each problem once."""
        if problem != self._problem:
            logs.event(
                _log,
                logging.ERROR,
                f"certificate cannot be used; {consequence}",
                purpose=self._purpose,
                certificate=str(self.files.certificate),
                reason=problem,
            )
        self._problem = problem
