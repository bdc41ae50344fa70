"""The table of a frontend's open connections, by client address."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Protocol

from drover import logs

_log = logging.getLogger("drover.frontend")
# Refusals of this many seconds share one log line, so that a flood does not fill the log.
_LOG_EVERY_SECONDS = 10.0


class ClientConnection(Protocol):
    """What the table needs of a connection."""

    @property
    def address(self) -> str: ...

    @property
    def can_close(self) -> bool:
        """Whether closing loses neither a response nor a request."""

    def close_idle(self) -> None:
        """Close the connection, which has no request."""


class ConnectionTable:
    """Open connections: at most `max_connections`, and `max_per_address` from an address that is no proxy.

    At the limit the longest idle connection is closed in favour of the new one: of the same address at the
    address's limit, otherwise of the address with most connections. A connection whose last response is still
    being sent is not idle. Without an idle one, the new connection is refused.
    """

    def __init__(self, max_connections: int, max_per_address: int, is_proxy: Callable[[str], bool]) -> None:
        self._max_connections = max_connections
        self._max_per_address = max_per_address
        self._is_proxy = is_proxy
        self._open: dict[str, set[ClientConnection]] = {}
        self._idle: dict[str, dict[ClientConnection, None]] = {}
        self._count = 0
        self._refused = 0
        self._logged = -_LOG_EVERY_SECONDS

    def __len__(self) -> int:
        return self._count

    def admit(self, connection: ClientConnection) -> bool:
        """Add a new connection as idle; False if there is no room for it."""
        address = connection.address
        of_address = len(self._open.get(address, ()))
        if of_address >= self._max_per_address and not self._is_proxy(address):
            has_room = self._close_idle(address)
        elif self._count >= self._max_connections:
            has_room = self._close_idle(max(self._open, key=lambda each: len(self._open[each])))
        else:
            has_room = True
        if not has_room:
            self._log_refusal(address, of_address)
            return False
        self._open.setdefault(address, set()).add(connection)
        self._count += 1
        self.mark_idle(connection)
        return True

    def mark_busy(self, connection: ClientConnection) -> None:
        """Call when the connection has a request."""
        self._discard_idle(connection)

    def mark_idle(self, connection: ClientConnection) -> None:
        """Call when the connection has no request any more; no effect on one that is not in the table."""
        if connection in self._open.get(connection.address, ()):
            self._idle.setdefault(connection.address, {})[connection] = None

    def remove(self, connection: ClientConnection) -> None:
        """Remove a connection; no effect if it is not in the table."""
        self._discard_idle(connection)
        of_address = self._open.get(connection.address)
        if of_address is None or connection not in of_address:
            return
        of_address.remove(connection)
        self._count -= 1
        if not of_address:
            del self._open[connection.address]

    def _close_idle(self, address: str) -> bool:
        """Close the address's longest idle connection; False if it has none."""
        longest = next((each for each in self._idle.get(address, ()) if each.can_close), None)
        if longest is None:
            return False
        self.remove(longest)
        longest.close_idle()
        return True

    def _discard_idle(self, connection: ClientConnection) -> None:
        of_address = self._idle.get(connection.address)
        if of_address is not None:
            of_address.pop(connection, None)
            if not of_address:
                del self._idle[connection.address]

    def _log_refusal(self, address: str, of_address: int) -> None:
        self._refused += 1
        now = time.monotonic()
        if now - self._logged < _LOG_EVERY_SECONDS:
            return
        logs.event(
            _log,
            logging.WARNING,
            "connection limit reached: new connections refused",
            refused=self._refused,
            connections=self._count,
            address=address,
            connections_of_address=of_address,
        )
        self._logged, self._refused = now, 0
