"""DNS names with many addresses: a headless Service of Kubernetes, or a network alias of compose."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence

from drover import logs
from drover.settings import split_address, with_port

_log = logging.getLogger("drover.fleet")
DNS = "dns:"
_POLL_SECONDS = 2.0
_ANSWER_SECONDS = 1.5
# Responses in a row without an address, after which it is removed.
_MAX_MISSES = 3
# A name without addresses is a response; all other errors mean that no name server responded.
_NO_ADDRESSES = {int(getattr(socket, name)) for name in ("EAI_NONAME", "EAI_NODATA") if hasattr(socket, name)}

Resolve = Callable[[str, int], Awaitable[Sequence[str]]]


class DnsNames:
    """Implements Discovery: resolves each name every two seconds."""

    def __init__(self, names: Sequence[str], resolve: Resolve | None = None) -> None:
        self._names = names
        self._resolve = resolve or _resolve
        self._misses: dict[str, dict[str, int]] = {}
        self._unanswered: set[str] = set()

    async def addresses(self) -> AsyncGenerator[Sequence[str], None]:
        last: list[str] | None = None
        while True:
            await asyncio.gather(*(self._poll(name) for name in self._names))
            now = sorted({address for found in self._misses.values() for address in found})
            if now != last:
                last = now
                yield now
            await asyncio.sleep(_POLL_SECONDS)

    async def _poll(self, name: str) -> None:
        """Resolve one name. An address that one response lacks may be in the next: it is removed when several
        in a row lack it. While no name server responds all stay; a worker that is lost is noticed by its
        connection.
        """
        host, port = split_address(name)
        try:
            async with asyncio.timeout(_ANSWER_SECONDS):
                found = set(await self._resolve(host, port))
        except (OSError, UnicodeError, TimeoutError) as error:
            self._log_once(name, error)
            if not _has_no_addresses(error):
                return
            found = set()
        else:
            self._unanswered.discard(name)
        misses = self._misses.setdefault(name, {})
        for address in found | misses.keys():
            misses[address] = 0 if address in found else misses[address] + 1
        self._misses[name] = {address: count for address, count in misses.items() if count < _MAX_MISSES}

    def _log_once(self, name: str, error: Exception) -> None:
        """Log the first failure in a row."""
        if name not in self._unanswered:
            self._unanswered.add(name)
            reason = str(error) or type(error).__name__
            logs.event(_log, logging.WARNING, "DNS lookup failed", name=name, reason=reason)


def _has_no_addresses(error: Exception) -> bool:
    return isinstance(error, socket.gaierror) and error.errno in _NO_ADDRESSES


async def _resolve(host: str, port: int) -> Sequence[str]:
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return [with_port(str(address[0]), port) for *_, address in found]
