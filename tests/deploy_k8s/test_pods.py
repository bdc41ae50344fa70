"""Pods of the chart: what they are allowed, how long they get, and that our entry points run with what they
are given.
"""

from __future__ import annotations

import os
import ssl
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import httpx
import pytest

from drover.settings import ProcessSettings
from drover.tls.fleet import FRONTEND_NAME, WORKER_NAME
from engine_worker.health import is_serving
from engine_worker.host.settings import HostSettings
from engine_worker.settings import WorkerSettings
from frontend.health import is_ok
from frontend.settings import FrontendSettings
from scripts import dev_certs
from tests.deploy_k8s.manifests import (
    EXAMPLES,
    POSTGRES,
    Json,
    at,
    environment,
    manifests,
    name_of,
    of_kind,
    pod_templates,
    rows,
)
from tests.support.processes import ROOT, free_port
from tests.support.waiting import wait_until

_STARTS_SECONDS = 60.0
_STOPS_SECONDS = 30.0
# As a LeaderWorkerSet's controller would fill them in.
_GROUP = {"LWS_GROUP_SIZE": "2", "LWS_WORKER_INDEX": "1", "LWS_LEADER_ADDRESS": "drover-0.drover.llm"}
_PODS = [
    pytest.param(template, id=f"{example}-{name}-{number}")
    for example, values in EXAMPLES.items()
    for number, (name, template) in enumerate(pod_templates(manifests(values)))
]
_DATABASE = "DROVER_FRONTEND_DATABASE_URL"


@pytest.mark.parametrize("template", _PODS)
def test_a_pod_has_no_rights_that_it_does_not_need(template: Json) -> None:
    spec = at(template, "spec")
    assert at(spec, "securityContext", "runAsNonRoot") is True
    assert at(spec, "securityContext", "seccompProfile") == {"type": "RuntimeDefault"}
    (container,) = rows(spec, "containers")
    assert at(container, "securityContext", "readOnlyRootFilesystem") is True
    assert at(container, "securityContext", "allowPrivilegeEscalation") is False
    assert at(container, "securityContext", "capabilities") == {"drop": ["ALL"]}
    assert at(container, "securityContext", "runAsUser") == 10001


@pytest.mark.parametrize("template", _PODS)
def test_a_pod_that_is_to_go_has_more_time_than_its_longest_stream(template: Json) -> None:
    container = at(template, "spec", "containers", 0)
    prestop_seconds = int(str(at(container, "lifecycle", "preStop", "sleep", "seconds")))
    given = environment(container)
    grace = next(
        value
        for name, value in given.items()
        if name.endswith(("SHUTDOWN_GRACE_SECONDS", "DRAIN_GRACE_SECONDS", "HOST_DRAIN_SECONDS"))
    )
    total_seconds = int(str(at(template, "spec", "terminationGracePeriodSeconds")))

    assert total_seconds > prestop_seconds + float(grace)
    # The bound is real: frontends end what takes longer.
    longest = given.get("DROVER_FRONTEND_REQUEST_TIMEOUT_SECONDS", grace)
    assert float(longest) == float(grace)


@pytest.mark.parametrize("template", _PODS)
def test_a_pod_is_given_settings_that_there_are(template: Json, monkeypatch: pytest.MonkeyPatch) -> None:
    container = at(template, "spec", "containers", 0)
    for name in [name for name in os.environ if name.startswith(("DROVER_", "OLLAMA_"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "10.0.0.1")
    given = environment(container)
    # What the others have from a Secret.
    for name, value in {_DATABASE: "postgresql://drover@postgres/drover", **given}.items():
        monkeypatch.setenv(name, value)
    tiers: dict[str, type[ProcessSettings]] = {
        "frontend": FrontendSettings,
        "worker": WorkerSettings,
        "host": HostSettings,
    }
    tier = tiers[str(at(container, "name"))]
    known = {tier.environment_variable(field) for field, _ in tier.documented()}

    assert {name for name in given if name.startswith("DROVER_")} <= known
    loaded = tier.load(_arguments(container))
    assert str(dict(loaded)["listen"]).startswith("0.0.0.0:")


def test_the_ranks_of_one_engine_know_where_they_meet() -> None:
    templates = [template for _, template in pod_templates(manifests(EXAMPLES["multi-node"]))]
    settings = [
        WorkerSettings.load(_arguments(at(template, "spec", "containers", 0)))
        for template in templates
        if "nnodes" in str(template)
    ]

    assert len(settings) == 2
    assert settings[0].sglang_flags == settings[1].sglang_flags
    assert settings[0].sglang_flags == [
        *("--tp-size", "16", "--nnodes", "2", "--node-rank", "1"),
        *("--dist-init-addr", "drover-0.drover.llm:20000"),
    ]


def test_any_setting_of_both_tiers_can_be_given() -> None:
    values = {
        "frontend": {
            "settings": {
                "max-queue": 1048576,
                "numbers": [1048576, 0.5],
                "trusted_proxies": ["10.0.0.0/8", "::1/128"],
            }
        },
        "models": [{"name": "a", "settings": {"slots": 3, "sim_token_bytes": 2, "system": "Be brief."}}],
    }
    frontend, worker = (
        environment(at(template, "spec", "containers", 0)) for _, template in pod_templates(manifests(values))
    )

    assert frontend["DROVER_FRONTEND_MAX_QUEUE"] == "1048576"
    assert frontend["DROVER_FRONTEND_NUMBERS"] == "1048576,0.5"
    assert frontend["DROVER_FRONTEND_TRUSTED_PROXIES"] == "10.0.0.0/8,::1/128"
    assert worker["DROVER_WORKER_SLOTS"] == "3"
    assert worker["DROVER_WORKER_SYSTEM"] == "Be brief."
    assert worker["DROVER_WORKER_KEEP_ALIVE"] == "-1"


def test_several_frontends_share_their_database() -> None:
    values = {**POSTGRES, "frontend": {"autoscaling": {"maxReplicas": 3}}}
    (frontend, _) = (
        at(template, "spec", "containers", 0) for _, template in pod_templates(manifests(values))
    )
    (url,) = [pair for pair in rows(frontend, "env") if at(pair, "name") == "DROVER_FRONTEND_DATABASE_URL"]

    assert at(url, "valueFrom", "secretKeyRef") == {"name": "drover-database", "key": "url"}


def _arguments(container: Json) -> list[str]:
    """As the kubelet would make them."""
    assert isinstance(container, dict)
    found = container.get("args") or []
    assert isinstance(found, list)
    arguments = [str(argument) for argument in found]
    for name, value in _GROUP.items():
        arguments = [argument.replace(f"$({name})", value) for argument in arguments]
    return arguments


@contextmanager
def _running(module: str, given: Mapping[str, str], log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """As the image's entry point does, in an environment with nothing else in it."""
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", module],
            cwd=ROOT,
            env={"PATH": os.environ["PATH"], **given},
            stdout=output,
            stderr=output,
        )
        try:
            yield process
        finally:
            process.terminate()
            assert process.wait(_STOPS_SECONDS) == 0, log.read_text()


@pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])
def test_the_pods_run_and_their_probes_answer(tls: bool, tmp_path: Path) -> None:
    """Of the simulator's example: only what is a pod's own (its ports, its volumes, its name) is replaced."""
    frontend, worker = (
        at(template, "spec", "containers", 0)
        for _, template in pod_templates(
            manifests(EXAMPLES["simulator"], {"frontend": {"preStopSeconds": 1}, "tls": {"enabled": tls}})
        )
    )
    ports = {port: free_port() for port in (11434, 50051, 50052, 9464)}
    certificates = tmp_path / "certificates"
    dev_certs.make(certificates, [], 1)
    own = []
    for container in (frontend, worker):
        given = environment(container)
        own.append(given)
        for name, value in given.items():
            for port, free in ports.items():
                value = value.replace(f":{port}", f":{free}")
            value = value.replace("drover-simulator:", "127.0.0.1:")
            value = value.replace("/etc/drover/https", str(certificates / "http"))
            value = value.replace("/etc/drover/fleet", str(certificates / str(at(container, "name"))))
            given[name] = value.replace("/var/lib/drover", str(tmp_path))
    of_frontend, of_worker = own
    scheme = "https" if tls else "http"

    with (
        _running("engine_worker", of_worker, tmp_path / "worker.log"),
        _running("frontend", of_frontend, tmp_path / "frontend.log"),
    ):
        for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
            of_worker_is_good = partial(_grpc_probe, at(worker, probe), ports)
            wait_until(of_worker_is_good, _STARTS_SECONDS, f"the worker's {probe}")
            of_frontend_is_good = partial(_http_probe, at(frontend, probe), ports[11434], scheme)
            wait_until(of_frontend_is_good, _STARTS_SECONDS, f"the frontend's {probe}")
        answer = httpx.post(
            f"{scheme}://127.0.0.1:{ports[11434]}/api/generate",
            json={"model": "sim", "prompt": "hello", "stream": False},
            timeout=_STARTS_SECONDS,
            verify=ssl.create_default_context(cafile=str(certificates / "authority.crt")),
        )
        scraped = httpx.get(f"http://127.0.0.1:{ports[9464]}/metrics").text

    assert answer.json()["done"] is True
    assert 'drover_worker_kv_tokens{model="sim:latest"} 1.048576e+06' in scraped
    assert ("can use the model and end requests" in (tmp_path / "worker.log").read_text()) is not tls


def _grpc_probe(probe: Json, ports: Mapping[int, int]) -> bool:
    wanted = at(probe, "grpc")
    assert isinstance(wanted, dict)
    port = ports[int(str(wanted["port"]))]
    return is_serving(f"127.0.0.1:{port}", str(wanted.get("service", "")))


def _http_probe(probe: Json, port: int, scheme: str) -> bool:
    wanted = at(probe, "httpGet")
    assert isinstance(wanted, dict)
    assert wanted["port"] == "http"
    assert str(wanted.get("scheme", "HTTP")).lower() == scheme
    return is_ok(f"{scheme}://127.0.0.1:{port}{wanted['path']}")


def test_keys_are_files_of_the_pods_group_alone() -> None:
    """A folder of a Secret as a whole: one that is mounted by subPath never changes."""
    for name, template in pod_templates(manifests(EXAMPLES["tls"])):
        spec = at(template, "spec")
        volumes = {str(at(each, "name")): each for each in rows(spec, "volumes")}
        mounts = {str(at(each, "name")): each for each in rows(spec, "containers", 0, "volumeMounts")}
        given = environment(at(spec, "containers", 0))
        for volume in ("fleet-tls", "https-tls") if name.endswith("frontend") else ("fleet-tls",):
            assert at(volumes[volume], "secret", "defaultMode") == 0o440
            assert mounts[volume] == {
                "name": volume,
                "mountPath": f"/etc/drover/{volume.removesuffix('-tls')}",
                "readOnly": True,
            }
        assert [path for key, path in given.items() if key.endswith("FLEET_TLS_KEY")] == [
            "/etc/drover/fleet/tls.key"
        ]


def test_certificates_have_the_names_that_the_tiers_demand() -> None:
    found = {name_of(item): item for item in of_kind(manifests(EXAMPLES["tls"]), "Certificate")}
    names = {name: at(item, "spec", "dnsNames") for name, item in found.items() if "authority" not in name}

    assert names == {
        "drover-frontend-tls": [FRONTEND_NAME],
        "drover-worker-tls": [WORKER_NAME],
        "drover-https": ["drover-frontend", "drover-frontend.llm", "drover-frontend.llm.svc"],
    }


def test_certificates_can_be_of_ones_own() -> None:
    items = manifests(
        {
            "tls": {
                "enabled": True,
                "https": {"secret": "mine"},
                "fleet": {"frontendSecret": "front", "workerSecret": "work"},
            }
        }
    )
    assert not of_kind(items, "Certificate")
    assert not of_kind(items, "Issuer")
    secrets = {
        str(at(volume, "secret", "secretName"))
        for _, template in pod_templates(items)
        for volume in rows(template, "spec", "volumes")
        if isinstance(volume, dict) and "secret" in volume
    }
    assert secrets == {"mine", "front", "work"}


def test_a_secret_with_keys_is_a_folder_that_the_frontend_reads() -> None:
    values = {"keys": {"existingSecret": "drover-keys"}}
    template = dict(pod_templates(manifests(values)))["drover-frontend"]
    spec = at(template, "spec")
    (container,) = rows(spec, "containers")
    folder = environment(container)["DROVER_FRONTEND_KEYS_FILE"]
    mounts = {str(at(each, "name")): each for each in rows(container, "volumeMounts")}
    assert mounts["keys"] == {"name": "keys", "mountPath": folder, "readOnly": True}
    volumes = {str(at(each, "name")): each for each in rows(spec, "volumes")}
    assert at(volumes["keys"], "secret") == {"secretName": "drover-keys"}
    assert "DROVER_FRONTEND_REQUIRE_KEYS" not in environment(container)


def test_keys_can_be_required_before_there_are_any() -> None:
    template = next(
        each
        for name, each in pod_templates(manifests({"keys": {"require": True}}))
        if name == "drover-frontend"
    )
    (container,) = rows(at(template, "spec"), "containers")
    assert environment(container)["DROVER_FRONTEND_REQUIRE_KEYS"] == "true"
