"""Names that stand for many workers: a headless Service, or an alias of compose."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence

from drover import logs
from drover.settings import split_address

_log = logging.getLogger("drover.fleet")
DNS = "dns:"
_POLL_SECONDS = 2.0
# A worker that is asked for by name and has no address twice is gone; once may be a resolver's hiccup.
_MISSES = 3

Resolve = Callable[[str, int], Awaitable[Sequence[str]]]


class DnsNames:
    """Implements Discovery. All addresses of each name, asked for every two seconds."""

    def __init__(self, names: Sequence[str], resolve: Resolve | None = None) -> None:
        self._names = names
        self._resolve = resolve or _resolve
        self._known: dict[str, Sequence[str]] = {}
        self._misses: dict[str, int] = {}

    async def addresses(self) -> AsyncGenerator[Sequence[str], None]:
        told: list[str] | None = None
        while True:
            await asyncio.gather(*(self._ask(name) for name in self._names))
            now = sorted({address for found in self._known.values() for address in found})
            if now != told:
                told = now
                yield now
            await asyncio.sleep(_POLL_SECONDS)

    async def _ask(self, name: str) -> None:
        host, port = split_address(name)
        try:
            self._known[name] = await self._resolve(host, port)
            self._misses[name] = 0
        except OSError as error:
            self._misses[name] = self._misses.get(name, 0) + 1
            if self._misses[name] == _MISSES:
                self._known[name] = []
                logs.event(_log, logging.WARNING, "no workers under a name", name=name, reason=str(error))


async def _resolve(host: str, port: int) -> Sequence[str]:
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return [_with_port(str(address[0]), port) for *_, address in found]


def _with_port(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
