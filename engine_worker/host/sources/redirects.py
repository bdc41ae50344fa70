"""Where a source may send its clients: storage elsewhere is usual, but not what only this host reaches."""

from __future__ import annotations

import asyncio
import socket
from ipaddress import ip_address
from urllib.parse import urljoin, urlsplit

from drover.errors import SourceFailed

_SCHEMES = ("http", "https")
_DEFAULT_PORTS = {"http": 80, "https": 443}


def origin_of(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{host_of(url)}"


def host_of(url: str) -> str:
    return urlsplit(url).netloc.rpartition("@")[2]


async def target_of(source: str, at: str, location: str) -> str:
    """Where an answer from `at` leads to, by its Location, on behalf of `source`; all are URLs.

    Raises SourceFailed as check_target does.
    """
    try:
        target = urljoin(at, location)
    except ValueError:
        raise _no_address(source, location) from None
    await check_target(source, target)
    return target


async def check_target(source: str, target: str) -> None:
    """Raises SourceFailed unless `source` may name `target`: HTTP only, TLS stays TLS, and from the Internet
    no way leads to addresses of this host and of its network.
    """
    try:
        parts = urlsplit(target)
        is_usable = parts.scheme in _SCHEMES and bool(parts.hostname) and not parts.username
    except ValueError:
        is_usable = False
    if not is_usable:
        raise _no_address(source, target)
    if origin_of(source) == origin_of(target):
        return
    if urlsplit(source).scheme == "https" and parts.scheme == "http":
        raise SourceFailed(
            f"{host_of(source)}: it sends to {host_of(target)} without TLS, which is not followed"
        )
    if await _is_internal(target) and not await _is_internal(source):
        raise SourceFailed(f"{host_of(source)}: it sends to {host_of(target)}, an address that is not public")


def _no_address(source: str, target: str) -> SourceFailed:
    """The address is left out but for its scheme: it may have a password in it."""
    scheme = target.partition(":")[0][:20]
    return SourceFailed(f"{host_of(source)}: it sends to no HTTP address without a user (scheme {scheme!r})")


async def _is_internal(url: str) -> bool:
    parts = urlsplit(url)
    try:
        found = await asyncio.get_running_loop().getaddrinfo(
            parts.hostname, parts.port or _DEFAULT_PORTS[parts.scheme], type=socket.SOCK_STREAM
        )
    except (OSError, ValueError):
        # A proxy may know it; without one the request fails.
        return False
    return any(not ip_address(str(address[0]).partition("%")[0]).is_global for *_, address in found)
