"""Parses OLLAMA_HOST as Ollama's server does (docs/reference/ollama-contract.md, "Environment variables")."""

from __future__ import annotations

import logging
import re
from ipaddress import IPv6Address, ip_address

_log = logging.getLogger("drover.settings")
_DEFAULT_PORT = 11434
_SCHEME_PORTS = {"http": 80, "https": 443}
_DEFAULT_HOST = "127.0.0.1"
_EVERY_INTERFACE = "0.0.0.0"
_PORT = re.compile(r"\+?[0-9]{1,9}")
_BRACKETED = re.compile(r"\[([^\[\]]*)\](?::(.*))?")


def listen_address(value: str) -> str:
    """`host:port` of a host, `host:port`, `:port` or URL. An invalid port becomes the default, with a
    warning.
    """
    scheme, has_scheme, rest = value.strip().partition("://")
    if not has_scheme:
        scheme, rest = "", scheme
    default_port = _SCHEME_PORTS.get(scheme, _DEFAULT_PORT)
    host, port = _split(rest.partition("/")[0])
    return f"{_in_brackets(host)}:{_port_number(port, default_port)}"


def _split(host_and_port: str) -> tuple[str, str | None]:
    """The host, and the port or None."""
    if bracketed := _BRACKETED.fullmatch(host_and_port):
        return bracketed[1] or _EVERY_INTERFACE, bracketed[2]
    host, colon, port = host_and_port.rpartition(":")
    if colon and ":" not in host:
        return host or _EVERY_INTERFACE, port
    return host_and_port or _DEFAULT_HOST, None


def _port_number(port: str | None, default: int) -> int:
    if port is not None and _PORT.fullmatch(port) and int(port) <= 65535:
        return int(port)
    if port is not None:
        _log.warning("OLLAMA_HOST: %r is not a port, using %d", port, default)
    return default


def _in_brackets(host: str) -> str:
    try:
        address = ip_address(host)
    except ValueError:
        return f"[{host}]" if ":" in host else host
    return f"[{address}]" if isinstance(address, IPv6Address) else str(address)
