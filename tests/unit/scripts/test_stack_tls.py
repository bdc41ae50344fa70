"""`make up TLS=1`: its files, its certificates, and that it stays as it is."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from drover.tls.files import TlsFiles
from drover.tls.fleet import WORKER_NAME
from drover.tls.own_certificate import own_certificate
from scripts import stack
from scripts.stack_plan import plan


def _services(environment: dict[str, str]) -> dict[str, Any]:
    files = stack._files(plan(environment, []))
    services = stack.Compose({**os.environ, **environment}, files).configuration()["services"]
    assert isinstance(services, dict)
    return services


def _mounts(service: dict[str, Any]) -> dict[str, str]:
    return {mount["target"]: mount["source"] for mount in service["volumes"]}


def test_each_tier_gets_its_own_folder() -> None:
    services = _services({"TLS": "1", "CERTIFICATES": "/made"})

    frontend, worker = services["frontend"], services["worker"]
    assert _mounts(frontend)["/etc/drover/https"] == "/made/http"
    assert _mounts(frontend)["/etc/drover/fleet"] == "/made/frontend"
    assert _mounts(worker)["/etc/drover/fleet"] == "/made/worker"
    assert frontend["environment"]["DROVER_FRONTEND_TLS_CERTIFICATE"] == "/etc/drover/https/tls.crt"
    assert worker["environment"]["DROVER_WORKER_FLEET_TLS_AUTHORITY"] == "/etc/drover/fleet/ca.crt"


def test_the_proxy_has_the_certificate_of_several_frontends() -> None:
    services = _services({"TLS": "1", "CERTIFICATES": "/made", "FRONTENDS": "2"})

    assert services["frontend"]["environment"]["DROVER_FRONTEND_TLS_CERTIFICATE"] == ""
    assert _mounts(services["frontend"])["/etc/drover/fleet"] == "/made/frontend"
    assert _mounts(services["proxy"])["/etc/drover/https"] == "/made/http"
    assert [port["target"] for port in services["proxy"]["ports"]] == [8443]


def test_a_worker_host_gets_the_certificate_of_workers() -> None:
    host = _services({"TLS": "1", "CERTIFICATES": "/made", "HOSTS": "1"})["host"]

    assert _mounts(host)["/etc/drover/fleet"] == "/made/worker"
    assert host["environment"]["DROVER_HOST_FLEET_TLS_AUTHORITY"] == "/etc/drover/fleet/ca.crt"


def test_nothing_of_it_without_tls() -> None:
    assert "TLS" not in json.dumps(_services({}))


def test_certificates_are_made_once(tmp_path: Path) -> None:
    environment = {"CERTIFICATES": str(tmp_path / "made")}
    stack._make_certificates(environment)
    worker = tmp_path / "made" / "worker"
    files = TlsFiles(worker / "tls.crt", worker / "tls.key", worker / "ca.crt")
    assert own_certificate(files, "server").names == [WORKER_NAME]
    before = files.state()

    stack._make_certificates(environment)
    assert files.state() == before


def test_it_stays_on_until_it_is_turned_off(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stack, "ENV_FILE", tmp_path / ".env")
    for tls in ({"TLS": "1"}, {"TLS": "1"}, {}):
        stack._remember_tls(tls)
    assert (tmp_path / ".env").read_text() == "TLS=1\n"
    stack._remember_tls({"TLS": "0"})
    assert stack._own_settings() == {"TLS": "0"}
