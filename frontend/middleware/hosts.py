"""Checks the `Host` header on a loopback address (docs/reference/ollama-contract.md, "Origins and hosts").

Protects against DNS rebinding: a page can resolve its own domain to 127.0.0.1, so that the browser takes this
server for the page's own. The requests still carry the domain in `Host`.
"""

from __future__ import annotations

import socket
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network

from starlette.types import ASGIApp, Receive, Scope, Send

from drover.exposure import is_loopback, parsed_address
from frontend.http.asgi import FORBIDDEN, header_of, send_empty_response
from frontend.observability.request_record import record_of

_LOCAL_ENDINGS = (".localhost", ".local", ".internal")
# As Go's IsPrivate, which is narrower than Python's `is_private`.
_PRIVATE_IPV4 = tuple(IPv4Network(net) for net in ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16"))
_PRIVATE_IPV6 = IPv6Network("fc00::/7")


def with_host_rule(app: ASGIApp, listen: str) -> ASGIApp:
    """Add the rule on a loopback address only: elsewhere the network decides who may call."""
    return HostRule(app, socket.gethostname()) if is_loopback(listen) else app


class HostRule:
    """ASGI middleware: answers 403 to a request for another host."""

    def __init__(self, app: ASGIApp, machine: str) -> None:
        self._app = app
        self._machine = machine

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            host = header_of(scope, b"host").decode("latin-1")
            if not is_local(host, self._machine):
                record_of(scope).fields["refused_host"] = host
                await send_empty_response(send, FORBIDDEN)
                return
        await self._app(scope, receive, send)


def is_local(host: str, machine: str) -> bool:
    """True if `host`, a header's value, means this machine or network. `machine`: this machine's name."""
    name = _without_port(host).lower()
    if address := parsed_address(name):
        return _is_local_address(address)
    return name in ("", "localhost", machine.lower()) or name.endswith(_LOCAL_ENDINGS)


def _without_port(host: str) -> str:
    if host.startswith("["):
        address, _, rest = host[1:].partition("]")
        return address if not rest or rest.startswith(":") else host
    name, colon, _ = host.rpartition(":")
    # More colons than one are an IPv6 address without brackets.
    return name if colon and ":" not in name else host


def _is_local_address(address: IPv4Address | IPv6Address) -> bool:
    if address.is_loopback or address.is_unspecified:
        return True
    if isinstance(address, IPv4Address):
        private = any(address in network for network in _PRIVATE_IPV4)
    else:
        private = address in _PRIVATE_IPV6
    return private or _is_on_an_interface(address)


def _is_on_an_interface(address: IPv4Address | IPv6Address) -> bool:
    """True for an address of this machine. The standard library lists none, but only those can be bound."""
    if address.is_multicast:
        return False
    family = socket.AF_INET if isinstance(address, IPv4Address) else socket.AF_INET6
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.bind((str(address), 0))
    except OSError:
        return False
    return True
