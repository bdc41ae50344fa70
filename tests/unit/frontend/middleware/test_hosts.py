"""The hosts that a server on a loopback address answers to (ollama-contract.md, "Origins and hosts")."""

from __future__ import annotations

import socket

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from frontend.middleware.hosts import HostRule, is_local, with_host_rule
from tests.unit.frontend.middleware.asgi_client import Streaming, ask

_MACHINE = "Box"
_NAMES = st.text("abcdefghijklmnopqrstuvwxyz0123456789-.", min_size=1, max_size=30)


@pytest.mark.parametrize(
    "host",
    [
        "",
        "localhost",
        "localhost:11434",
        "LocalHost",
        "localhost:",
        "box",
        "BOX:80",
        "printer.local",
        "Printer.LOCAL:1",
        "a.b.internal",
        "host.docker.internal:11434",
        "app.localhost",
        "127.0.0.1",
        "127.9.9.9:11434",
        "0.0.0.0:11434",
        "10.1.2.3",
        "172.16.0.1",
        "172.31.255.255",
        "192.168.1.1:80",
        "::1",
        "[::1]",
        "[::1]:11434",
        "[::]:1",
        "[fd00::1]:1",
        "[::ffff:127.0.0.1]:1",
    ],
)
def test_local_hosts(host: str) -> None:
    assert is_local(host, _MACHINE)


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "evil.example:11434",
        "[::1].evil.example",
        "[::1].evil.example:80",
        "localhost.evil.example",
        "local",
        "internal",
        "xlocal",
        "evil.local.",
        "box.evil.example",
        "boxes",
        "127.0.0.1.evil.example",
        "8.8.8.8",
        "8.8.8.8:11434",
        "172.32.0.1",
        "192.0.2.1",
        "169.254.169.254",
        "224.0.0.1",
        "[2001:db8::1]:11434",
        "[ff02::1]",
        "127.1",
        "2130706433",
        "0x7f000001",
        " localhost",
    ],
)
def test_other_hosts(host: str) -> None:
    assert not is_local(host, _MACHINE)


@given(name=_NAMES, port=st.sampled_from(["", ":80", ":11434"]))
def test_no_other_name_is_local(name: str, port: str) -> None:
    assume(not name.endswith((".local", ".localhost", ".internal")))
    assume(name not in {"localhost", "box"})
    assume(not name.replace(".", "").isdecimal())
    assert not is_local(name + port, _MACHINE)


@given(address=st.ip_addresses(v=4, network="10.0.0.0/8") | st.ip_addresses(v=4, network="127.0.0.0/8"))
def test_every_address_of_these_networks_is_local(address: object) -> None:
    assert is_local(str(address), _MACHINE)
    assert is_local(f"{address}:11434", _MACHINE)


def test_an_address_of_this_machine_is_local() -> None:
    own = socket.gethostbyname(socket.gethostname())
    assert is_local(own, _MACHINE)


async def test_a_host_that_is_not_local_gets_403_without_a_body() -> None:
    app = Streaming()

    answer = await ask(HostRule(app, _MACHINE), host="evil.example")

    assert (answer.status, answer.headers, answer.body) == (403, {"content-length": "0"}, b"")
    assert app.calls == 0


@pytest.mark.parametrize("headers", [{"host": "localhost:1"}, {}])
async def test_a_local_host_passes(headers: dict[str, str]) -> None:
    assert (await ask(HostRule(Streaming(), _MACHINE), **headers)).status == 200


@pytest.mark.parametrize("listen", ["127.0.0.1:1", "127.0.0.2:1", "[::1]:1", "localhost:1"])
def test_the_rule_holds_on_loopback_addresses(listen: str) -> None:
    assert isinstance(with_host_rule(Streaming(), listen), HostRule)


@pytest.mark.parametrize("listen", ["0.0.0.0:1", "[::]:1", "192.168.0.1:1", "8.8.8.8:1", "name.invalid:1"])
def test_the_rule_does_not_hold_on_other_addresses(listen: str) -> None:
    app = Streaming()
    assert with_host_rule(app, listen) is app
