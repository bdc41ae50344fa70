"""Where a source may send its clients: storage elsewhere is usual, but not what only this host reaches."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Sequence
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address
from urllib.parse import urljoin, urlsplit

from drover.errors import SourceFailed

_SCHEMES = ("http", "https")
# RFC 6052, RFC 8215, RFC 4291.
_NAT64, _LOCAL_NAT64, _COMPATIBLE = map(IPv6Network, ("64:ff9b::/96", "64:ff9b:1::/48", "::/96"))
_NOWHERE = IPv4Address(0)
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
    addresses = (ip_address(str(address[0]).partition("%")[0]) for *_, address in found)
    return not all(map(_is_public, addresses))


def _is_public(address: IPv4Address | IPv6Address) -> bool:
    if isinstance(address, IPv4Address):
        return address.is_global
    if embedded := _embedded(address):
        return all(each.is_global for each in embedded)
    return address.is_global and not address.is_site_local


def _embedded(address: IPv6Address) -> Sequence[IPv4Address]:
    """The IPv4 addresses that packets to this one reach, translated or through a tunnel."""
    for known in (address.ipv4_mapped, address.sixtofour):
        if known is not None:
            return [known]
    if address.teredo is not None:
        return address.teredo
    last = IPv4Address(int(address) & 0xFFFFFFFF)
    if address in _LOCAL_NAT64 and not int(last) & 0xFFFFFF:
        # Where the IPv4 address is in the middle (RFC 6052), of a length that only the network knows.
        return [_NOWHERE]
    return [last] if any(address in each for each in (_NAT64, _LOCAL_NAT64, _COMPATIBLE)) else ()
