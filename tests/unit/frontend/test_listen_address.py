"""The forms of OLLAMA_HOST; the first table is what upstream's own tests say of it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drover.settings import check_tcp_address, split_address
from frontend.listen_address import listen_address

_PORTS = st.integers(0, 65535)


@pytest.mark.parametrize(
    ("value", "address"),
    [
        ("", "127.0.0.1:11434"),
        ("1.2.3.4", "1.2.3.4:11434"),
        (":1234", "0.0.0.0:1234"),
        ("1.2.3.4:1234", "1.2.3.4:1234"),
        ("example.com", "example.com:11434"),
        ("example.com:1234", "example.com:1234"),
        (":0", "0.0.0.0:0"),
        (":66000", "0.0.0.0:11434"),
        (":-1", "0.0.0.0:11434"),
        ("[::1]", "[::1]:11434"),
        ("[::]", "[::]:11434"),
        ("::1", "[::1]:11434"),
        ("[::1]:1337", "[::1]:1337"),
        (" 1.2.3.4 ", "1.2.3.4:11434"),
        ("http://1.2.3.4", "1.2.3.4:80"),
        ("http://1.2.3.4:4321", "1.2.3.4:4321"),
        ("https://1.2.3.4", "1.2.3.4:443"),
        ("https://1.2.3.4:4321", "1.2.3.4:4321"),
        ("https://example.com/ollama", "example.com:443"),
    ],
)
def test_as_upstream_reads_it(value: str, address: str) -> None:
    assert listen_address(value) == address


@pytest.mark.parametrize(
    ("value", "address"),
    [
        ("0.0.0.0", "0.0.0.0:11434"),
        ("http://localhost:11434/", "localhost:11434"),
        ("http://[::1]", "[::1]:80"),
        ("http://:8080", "0.0.0.0:8080"),
        ("tcp://1.2.3.4", "1.2.3.4:11434"),
        ("host:", "host:11434"),
        ("host:http", "host:11434"),
        ("http://host:99999", "host:80"),
        ("[::]:x", "[::]:11434"),
        ("1.2.3.4:+80", "1.2.3.4:80"),
        ("1.2.3.4:0080", "1.2.3.4:80"),
        ("0:0:0:0:0:0:0:1", "[::1]:11434"),
        ("a:b:c", "[a:b:c]:11434"),
        ("://", "127.0.0.1:11434"),
    ],
)
def test_other_forms(value: str, address: str) -> None:
    assert listen_address(value) == address


@pytest.mark.parametrize("value", [":66000", "host:", "[::1]:http"])
def test_a_wrong_port_is_reported(value: str, caplog: pytest.LogCaptureFixture) -> None:
    listen_address(value)

    assert "OLLAMA_HOST" in caplog.text


@given(host=st.ip_addresses(v=4), port=_PORTS, scheme=st.sampled_from(["", "http://", "https://"]))
def test_ipv4_and_port(host: object, port: int, scheme: str) -> None:
    assert split_address(listen_address(f"{scheme}{host}:{port}")) == (str(host), port)


@given(host=st.ip_addresses(v=6), port=_PORTS, end=st.sampled_from(["", "/", "/path"]))
def test_ipv6_and_port(host: object, port: int, end: str) -> None:
    assert split_address(listen_address(f"[{host}]:{port}{end}")) == (str(host), port)
    assert split_address(listen_address(f"{host}")) == (str(host), 11434)


@given(st.text(max_size=30) | st.text("[]:/.0123456789ah%-+ ", max_size=20))
def test_any_text_becomes_an_address(value: str) -> None:
    check_tcp_address(listen_address(value))
