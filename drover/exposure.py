"""Warning to the operator if a process listens on an address that other machines can reach."""

from __future__ import annotations

import logging
import socket
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address, ip_address

from drover import logs
from drover.settings import split_address


@lru_cache(maxsize=256)
def parsed_address(text: str) -> IPv4Address | IPv6Address | None:
    """Parse an IP address; None for a host name. IPv4-mapped IPv6 addresses are returned as IPv4."""
    try:
        address = ip_address(text)
    except ValueError:
        return None
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return mapped or address


def is_loopback(listen: str) -> bool:
    """Whether `host:port` is a loopback address. False for a host that cannot be resolved."""
    host, _ = split_address(listen)
    if address := parsed_address(host):
        return address.is_loopback
    try:
        return ip_address(socket.gethostbyname(host)).is_loopback
    except OSError:
        return False


def warn_if_exposed(logger: logging.Logger, listen: str, flag: str, danger: str) -> None:
    """Log a warning unless only this machine can connect.

    `listen`: `host:port` or `unix:/path`; `flag`: the setting's names; `danger`: what any client can do.
    """
    if listen.startswith("unix:") or is_loopback(listen):
        return
    logs.event(
        logger,
        logging.WARNING,
        f"OPEN TO THE NETWORK: every client that reaches {listen} {danger}. Restrict access by a firewall, a "
        "private network or a proxy, or listen on 127.0.0.1. In a container this is expected: there the "
        "published ports decide",
        listen=listen,
        set_by=flag,
    )
