"""Who can reach an address that a process listens on, and the warning to its operator."""

from __future__ import annotations

import logging
import socket
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address, ip_address

from drover import logs
from drover.settings import split_address


@lru_cache(maxsize=256)
def parsed_address(text: str) -> IPv4Address | IPv6Address | None:
    """None for a name. An IPv4 address in IPv6's clothes comes as what it is."""
    try:
        address = ip_address(text)
    except ValueError:
        return None
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return mapped or address


def is_loopback(listen: str) -> bool:
    """Of `host:port`. Not so where nothing can listen at all, which whoever listens will say."""
    host, _ = split_address(listen)
    if address := parsed_address(host):
        return address.is_loopback
    try:
        return ip_address(socket.gethostbyname(host)).is_loopback
    except OSError:
        return False


def warn_if_exposed(logger: logging.Logger, listen: str, flag: str, danger: str) -> None:
    """`listen`: `host:port` or `unix:/path`; `flag`: where it was set; `danger`: what one can do there."""
    if listen.startswith("unix:") or is_loopback(listen):
        return
    logs.event(
        logger,
        logging.WARNING,
        f"OPEN TO THE NETWORK: whoever reaches {listen} {danger}. Let a firewall, a private network or a "
        "proxy say who does, or listen on 127.0.0.1. In a container this is as it must be: there, it is the "
        "published ports that decide",
        listen=listen,
        set_by=flag,
    )
