"""The warning about a listen address that other machines can reach."""

from __future__ import annotations

import logging

import pytest

from drover.exposure import warn_if_exposed

_log = logging.getLogger("tests.exposure")


@pytest.mark.parametrize("listen", ["0.0.0.0:1", "[::]:1", "192.168.0.1:1", "8.8.8.8:1", "[2001:db8::1]:1"])
def test_an_exposed_address_is_logged(listen: str, caplog: pytest.LogCaptureFixture) -> None:
    warn_if_exposed(_log, listen, "--listen", "can use every model")

    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert (
        f"OPEN TO THE NETWORK: every client that reaches {listen} can use every model" in record.getMessage()
    )


@pytest.mark.parametrize(
    "listen",
    ["127.0.0.1:1", "127.8.8.8:1", "[::1]:1", "[::ffff:127.0.0.1]:1", "localhost:1", "unix:/run/worker"],
)
def test_a_loopback_address_is_not_logged(listen: str, caplog: pytest.LogCaptureFixture) -> None:
    warn_if_exposed(_log, listen, "--listen", "can use every model")

    assert not caplog.records
