"""Names that stand for many workers: a headless Service, or an alias of compose."""

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
# Of answers in a row that do not have an address.
_MISSES = 3
# That a name has no addresses is an answer; all else is none (a name server that is away or refuses).
_NO_ADDRESSES = {int(getattr(socket, name)) for name in ("EAI_NONAME", "EAI_NODATA") if hasattr(socket, name)}

Resolve = Callable[[str, int], Awaitable[Sequence[str]]]


class DnsNames:
    """Implements Discovery. All addresses of each name, asked for every two seconds."""

    def __init__(self, names: Sequence[str], resolve: Resolve | None = None) -> None:
        self._names = names
        self._resolve = resolve or _resolve
        self._misses: dict[str, dict[str, int]] = {}
        self._unanswered: set[str] = set()

    async def addresses(self) -> AsyncGenerator[Sequence[str], None]:
        told: list[str] | None = None
        while True:
            await asyncio.gather(*(self._ask(name) for name in self._names))
            now = sorted({address for found in self._misses.values() for address in found})
            if now != told:
                told = now
                yield now
            await asyncio.sleep(_POLL_SECONDS)

    async def _ask(self, name: str) -> None:
        """An address that one answer lacks may be in the next: it is dropped when it is missing again and
        again. While nobody answers, all stay: who is really gone is noticed by its connection.
        """
        host, port = split_address(name)
        try:
            async with asyncio.timeout(_ANSWER_SECONDS):
                found = set(await self._resolve(host, port))
        except (OSError, UnicodeError, TimeoutError) as error:
            self._complain(name, error)
            if not _says_none(error):
                return
            found = set()
        else:
            self._unanswered.discard(name)
        misses = self._misses.setdefault(name, {})
        for address in found | misses.keys():
            misses[address] = 0 if address in found else misses[address] + 1
        self._misses[name] = {address: count for address, count in misses.items() if count < _MISSES}

    def _complain(self, name: str, error: Exception) -> None:
        """Once, until it has an answer again."""
        if name not in self._unanswered:
            self._unanswered.add(name)
            reason = str(error) or type(error).__name__
            logs.event(_log, logging.WARNING, "a name has no answer", name=name, reason=reason)


def _says_none(error: Exception) -> bool:
    return isinstance(error, socket.gaierror) and error.errno in _NO_ADDRESSES


async def _resolve(host: str, port: int) -> Sequence[str]:
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return [with_port(str(address[0]), port) for *_, address in found]
