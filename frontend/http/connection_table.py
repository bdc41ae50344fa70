"""All connections of a frontend, by the address they come from."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Protocol

from drover import logs

_log = logging.getLogger("drover.frontend")
# A flood would otherwise fill the log: one line for all that happened in so many seconds.
_LOG_EVERY_SECONDS = 10.0


class Connection(Protocol):
    @property
    def address(self) -> str: ...

    @property
    def is_drained(self) -> bool:
        """Whether nothing of an answer is on its way any more."""

    def give_way(self) -> None:
        """Closes it. It has no request."""


class ConnectionTable:
    """At most `most` connections, and `most_of_one` from one address, unless it `is_proxy`.

    Where there is no room, the longest idle connection is closed: of the same address, or else of the one
    that has most. One whose last answer is still on its way is not idle. Where none is idle the new one is
    refused.
    """

    def __init__(self, most: int, most_of_one: int, is_proxy: Callable[[str], bool]) -> None:
        self._most = most
        self._most_of_one = most_of_one
        self._is_proxy = is_proxy
        self._open: dict[str, set[Connection]] = {}
        self._idle: dict[str, dict[Connection, None]] = {}
        self._count = 0
        self._refused = 0
        self._logged = -_LOG_EVERY_SECONDS

    def __len__(self) -> int:
        return self._count

    def admit(self, connection: Connection) -> bool:
        """Whether there is room for a new one, which is idle then."""
        address = connection.address
        there = len(self._open.get(address, ()))
        if there >= self._most_of_one and not self._is_proxy(address):
            has_room = self._drop_idle(address)
        elif self._count >= self._most:
            has_room = self._drop_idle(max(self._open, key=lambda each: len(self._open[each])))
        else:
            has_room = True
        if not has_room:
            self._log_refusal(address, there)
            return False
        self._open.setdefault(address, set()).add(connection)
        self._count += 1
        self.is_idle(connection)
        return True

    def is_busy(self, connection: Connection) -> None:
        """It has a request."""
        self._take(self._idle, connection)

    def is_idle(self, connection: Connection) -> None:
        if connection in self._open.get(connection.address, ()):
            self._idle.setdefault(connection.address, {})[connection] = None

    def remove(self, connection: Connection) -> None:
        """Nothing happens if it is not there."""
        self._take(self._idle, connection)
        of_address = self._open.get(connection.address)
        if of_address is None or connection not in of_address:
            return
        of_address.remove(connection)
        self._count -= 1
        if not of_address:
            del self._open[connection.address]

    def _drop_idle(self, address: str) -> bool:
        longest = next((each for each in self._idle.get(address, ()) if each.is_drained), None)
        if longest is None:
            return False
        self.remove(longest)
        longest.give_way()
        return True

    @staticmethod
    def _take(idle: dict[str, dict[Connection, None]], connection: Connection) -> None:
        of_address = idle.get(connection.address)
        if of_address is not None:
            of_address.pop(connection, None)
            if not of_address:
                del idle[connection.address]

    def _log_refusal(self, address: str, there: int) -> None:
        self._refused += 1
        now = time.monotonic()
        if now - self._logged < _LOG_EVERY_SECONDS:
            return
        logs.event(
            _log,
            logging.WARNING,
            "too many connections: refused new ones",
            refused=self._refused,
            connections=self._count,
            address=address,
            connections_of_address=there,
        )
        self._logged, self._refused = now, 0
