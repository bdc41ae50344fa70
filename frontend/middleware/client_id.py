"""Who a client is, for fairness: its key, else its address."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import blake2b
from ipaddress import IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

from starlette.types import Scope

from frontend.http.asgi import header_of


def check_network(text: str) -> str:
    """Raises ValueError for what is no address or network."""
    try:
        ip_network(text, strict=False)
    except ValueError:
        raise ValueError(f"{text!r} is no address or network, like 10.0.0.7 or 10.0.0.0/8") from None
    return text


class Clients:
    """`trusted_proxies`: only these are believed about whom they speak for."""

    def __init__(self, trusted_proxies: Sequence[str]) -> None:
        self._trusted: list[IPv4Network | IPv6Network] = [
            ip_network(each, strict=False) for each in trusted_proxies
        ]

    def name_of(self, scope: Scope, address: str = "") -> str:
        """`address`: its address, where that is known already. A key is not kept, only told apart."""
        key = header_of(scope, b"authorization") or header_of(scope, b"x-api-key")
        if key:
            return f"key {blake2b(key, digest_size=8).hexdigest()}"
        return address or self.address_of(scope)

    def address_of(self, scope: Scope) -> str:
        """From the right of X-Forwarded-For, the first that no trusted proxy has."""
        client = scope.get("client")
        address = str(client[0]) if client else ""
        if not self.is_proxy(address):
            return address
        # A proxy may add a line of its own below the one that a client has made up.
        lines = [value for name, value in scope["headers"] if name == b"x-forwarded-for"]
        forwarded = b",".join(lines).decode("latin-1").split(",")
        for hop in reversed([each.strip() for each in forwarded if each.strip()]):
            if not _is_address(hop):
                break
            address = hop
            if not self.is_proxy(hop):
                break
        return address

    def is_proxy(self, address: str) -> bool:
        """Whether it may speak for others."""
        if not self._trusted or not _is_address(address):
            return False
        parsed = ip_address(address)
        mapped = parsed.ipv4_mapped if isinstance(parsed, IPv6Address) else None
        return any((mapped or parsed) in network for network in self._trusted)


def _is_address(text: str) -> bool:
    try:
        ip_address(text)
    except ValueError:
        return False
    return True
