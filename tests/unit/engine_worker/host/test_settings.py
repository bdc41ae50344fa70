"""Settings of a host that cannot be used are refused at its start."""

from __future__ import annotations

import pytest

from engine_worker.host.settings import HostSettings


@pytest.mark.parametrize(
    "source", ["https://registry.example", "registry.example/team", "a b", "hub=ftp://mirror", "=http://a"]
)
def test_a_source_that_no_name_could_have_is_refused(source: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        HostSettings.load(["--sources", f"registry.ollama.ai,{source}"])
    assert "write a host as it is in models' names" in capsys.readouterr().err


def test_sources_are_hosts_and_their_addresses() -> None:
    found = HostSettings.load(["--sources", "Registry.example:5000,hf.co=http://127.0.0.1:8080/hub"])
    assert found.allowed_sources == {"registry.example:5000", "hf.co"}
    assert found.addresses == {"hf.co": "http://127.0.0.1:8080/hub"}
    assert HostSettings.load(["--sources", "none"]).allowed_sources == frozenset()


def test_frontends_without_a_name_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        HostSettings.load(["--fleet-tls-frontend-names", ","])
    assert "--fleet-tls-frontend-names" in capsys.readouterr().err


def test_mutual_tls_needs_all_its_files(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        HostSettings.load(["--fleet-tls-certificate", "/certificates/tls.crt"])
    assert "--fleet-tls-key" in capsys.readouterr().err
    assert HostSettings.load([]).fleet_tls is None
