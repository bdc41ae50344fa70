"""Identifies clients, for fair queueing and as owners of stored responses: by key, else by address."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import blake2b
from ipaddress import IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

from starlette.types import Scope

from frontend.http.asgi import header_of


def check_network(text: str) -> str:
    """Return a valid address or network unchanged. Raises ValueError."""
    try:
        ip_network(text, strict=False)
    except ValueError:
        raise ValueError(f"{text!r} is no address or network, like 10.0.0.7 or 10.0.0.0/8") from None
    return text


class Clients:
    """`trusted_proxies`: addresses and networks whose X-Forwarded-For is used."""

    def __init__(self, trusted_proxies: Sequence[str]) -> None:
        self._trusted: list[IPv4Network | IPv6Network] = [
            ip_network(each, strict=False) for each in trusted_proxies
        ]

    def name_of(self, scope: Scope, address: str = "") -> str:
        """Key for the fair queue, and name of the owner. API keys are hashed; only a fingerprint is kept.
        `address`: the client's, if known.
        """
        key = header_of(scope, b"authorization") or header_of(scope, b"x-api-key")
        if key:
            return f"key {blake2b(key, digest_size=8).hexdigest()}"
        return address or self.address_of(scope)

    def address_of(self, scope: Scope) -> str:
        """The first address from the right of X-Forwarded-For that is not a trusted proxy's."""
        client = scope.get("client")
        address = str(client[0]) if client else ""
        if not self.is_proxy(address):
            return address
        # A proxy may add its own header line after one that the client forged.
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
        """True for a trusted proxy."""
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
