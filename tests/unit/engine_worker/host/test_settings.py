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
