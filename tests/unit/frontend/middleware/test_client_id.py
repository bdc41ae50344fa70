"""Whom fairness takes for one client."""

from __future__ import annotations

import pytest
from starlette.types import Scope

from frontend.middleware.client_id import Clients, check_network


def _scope(address: str = "203.0.113.7", **headers: str) -> Scope:
    pairs = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    return {"type": "http", "client": (address, 1), "headers": pairs}


def test_a_client_is_its_address() -> None:
    assert Clients([]).name_of(_scope()) == "203.0.113.7"


def test_forwarded_addresses_of_untrusted_peers_are_ignored() -> None:
    assert Clients([]).name_of(_scope(x_forwarded_for="198.51.100.1")) == "203.0.113.7"
    assert Clients(["10.0.0.0/8"]).name_of(_scope(x_forwarded_for="198.51.100.1")) == "203.0.113.7"


@pytest.mark.parametrize(
    ("forwarded", "client"),
    [
        ("198.51.100.1", "198.51.100.1"),
        ("192.0.2.9, 198.51.100.1", "198.51.100.1"),
        ("198.51.100.1, 10.0.0.8", "198.51.100.1"),
        ("nonsense, 10.0.0.8", "10.0.0.8"),
        ("", "10.0.0.7"),
        ("2001:db8::1", "2001:db8::1"),
    ],
)
def test_a_trusted_proxys_forwarded_address_is_used(forwarded: str, client: str) -> None:
    clients = Clients(["10.0.0.0/8"])

    assert clients.name_of(_scope("10.0.0.7", x_forwarded_for=forwarded)) == client


def test_forwarded_lines_before_the_proxys_own_are_ignored() -> None:
    scope = _scope("10.0.0.7")
    scope["headers"] = [(b"x-forwarded-for", b"192.0.2.66"), (b"x-forwarded-for", b"198.51.100.1")]

    assert Clients(["10.0.0.0/8"]).name_of(scope) == "198.51.100.1"


def test_a_proxy_is_the_same_over_ipv6_sockets() -> None:
    scope = _scope("::ffff:10.0.0.7", x_forwarded_for="198.51.100.1")

    assert Clients(["10.0.0.0/8"]).name_of(scope) == "198.51.100.1"


def test_a_key_is_kept_as_a_fingerprint_only() -> None:
    names = [Clients([]).name_of(_scope(authorization=f"Bearer secret{number}")) for number in (1, 1, 2)]

    assert names[0] == names[1] != names[2]
    assert "secret" not in names[0]
    assert Clients([]).name_of(_scope(x_api_key="secret")).startswith("key ")


@pytest.mark.parametrize("text", ["", "proxy", "10.0.0.0/99"])
def test_invalid_networks_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match="no address or network"):
        check_network(text)
