"""A service account, and pauses that are short."""

from __future__ import annotations

from pathlib import Path

import pytest

from frontend.routing.discovery import endpoint_slices
from tests.support.certificates import certificate_of_localhost


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return certificate_of_localhost(tmp_path_factory.mktemp("tls"))


@pytest.fixture(scope="session")
def another_certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return certificate_of_localhost(tmp_path_factory.mktemp("another"))


@pytest.fixture
def account(tmp_path: Path, certificate: tuple[Path, Path]) -> Path:
    (tmp_path / "ca.crt").write_bytes(certificate[0].read_bytes())
    (tmp_path / "token").write_text("first\n")
    (tmp_path / "namespace").write_text("llm")
    return tmp_path


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(endpoint_slices, "_MAX_PAUSE_SECONDS", 0.05)
