"""Settings of a host that cannot be used are refused at its start."""

from __future__ import annotations

import sys

import pytest

from engine_worker.host.settings import HostSettings
from tests.unit.engine_worker.host.conftest import name


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


def test_a_python_that_is_not_there_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        HostSettings.load(["--sglang-python", "/nowhere/bin/python"])
    assert "there is no such program" in capsys.readouterr().err
    assert HostSettings.load(["--sglang-python", sys.executable]).sglang_interpreter == sys.executable


def test_frontends_without_a_name_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        HostSettings.load(["--fleet-tls-frontend-names", ","])
    assert "--fleet-tls-frontend-names" in capsys.readouterr().err


def test_mutual_tls_needs_all_its_files(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        HostSettings.load(["--fleet-tls-certificate", "/certificates/tls.crt"])
    assert "--fleet-tls-key" in capsys.readouterr().err
    assert HostSettings.load([]).fleet_tls is None


def test_engines_by_pattern_are_repeated_or_a_list(capsys: pytest.CaptureFixture[str]) -> None:
    flags = ["--engine-for", "a*=sglang,b=llamacpp", "--engine-for", "c:1b=simulator"]
    rules = HostSettings.load([*flags, "--model-settings", '{"b": {"slots": 3}}']).model_rules
    assert rules.engines == {"a*": "sglang", "b": "llamacpp", "c:1b": "simulator"}
    assert (rules.of(name("b:7b")).engine, rules.of(name("b:7b")).slots) == ("llamacpp", 3)
    with pytest.raises(SystemExit):
        HostSettings.load(["--engine-for", "a*=vllm"])
    assert "'a*=vllm': write PATTERN=ENGINE" in capsys.readouterr().err


def test_what_the_environment_says_to_workers_counts_for_estimates(monkeypatch: pytest.MonkeyPatch) -> None:
    assert HostSettings.load([]).inherited_flags == []
    monkeypatch.setenv("OLLAMA_CONTEXT_LENGTH", "32768")
    monkeypatch.setenv("DROVER_WORKER_SLOTS", "2")
    assert HostSettings.load([]).inherited_flags == ["--context-length", "32768", "--slots", "2"]
