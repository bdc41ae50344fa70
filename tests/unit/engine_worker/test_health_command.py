"""What `python -m engine_worker.health` answers without a worker."""

from __future__ import annotations

from pathlib import Path

import pytest

from engine_worker.health import main
from tests.support.processes import free_port


def test_without_an_address_it_says_how_it_is_called(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([], {}) == 2
    assert capsys.readouterr().err == "usage: python -m engine_worker.health HOST:PORT\n"


def test_a_certificate_that_cannot_be_read_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    environment = {
        f"DROVER_WORKER_FLEET_TLS_{each}": str(tmp_path / each)
        for each in ("CERTIFICATE", "KEY", "AUTHORITY")
    }
    assert main([f"127.0.0.1:{free_port()}"], environment) == 1
    assert f"certificate cannot be used: {tmp_path / 'AUTHORITY'} cannot be read" in capsys.readouterr().err


def test_a_worker_that_is_away_is_not_serving(capsys: pytest.CaptureFixture[str]) -> None:
    address = f"127.0.0.1:{free_port()}"
    assert main([address], {}) == 1
    assert capsys.readouterr().err.startswith(f"{address} does not answer: ")
