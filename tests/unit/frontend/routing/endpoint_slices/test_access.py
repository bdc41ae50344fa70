"""Service accounts, certificate authorities and addresses."""

from __future__ import annotations

import logging
import ssl
from pathlib import Path

import pytest

from frontend.routing.discovery import check_service, discoveries_of
from frontend.routing.discovery.endpoint_slices import EndpointSlices
from frontend.routing.discovery.kubernetes_api import ApiServer
from frontend.routing.discovery.kubernetes_service import Service
from frontend.settings import FrontendSettings
from tests.fakes.kubernetes_api import FakeKubernetes, endpoint, endpoint_slice
from tests.support.certificates import certificate_without_key_identifiers
from tests.support.waiting import until
from tests.unit.frontend.routing.endpoint_slices.running_discovery import (
    SOON_SECONDS,
    discovering,
    fields,
    following,
    logged,
    watched,
)

_created = ssl.create_default_context


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize(
    ("api", "words"),
    [
        (FakeKubernetes(token="another"), ["401", "token"]),
        (FakeKubernetes(forbidden_verbs=frozenset({"list"})), ["403", "Role in namespace llm", '"watch"']),
        (FakeKubernetes(forbidden_verbs=frozenset({"watch"})), ["403", "endpointslices", "RoleBinding"]),
    ],
)
async def test_a_refusal_is_logged_once_with_the_missing_rule(
    account: Path, caplog: pytest.LogCaptureFixture, api: FakeKubernetes, words: list[str]
) -> None:
    async with discovering(api, account):
        await until(lambda: len(api.asked) >= 10, SOON_SECONDS, "it is asked again and again")

    (refusal,) = logged(caplog)
    assert refusal.levelno == logging.ERROR
    assert all(word in str(fields(refusal)["reason"]) for word in words)


async def test_a_token_that_was_replaced_is_used(account: Path, caplog: pytest.LogCaptureFixture) -> None:
    api = FakeKubernetes()
    await api.put(endpoint_slice("a", endpoint("10.0.0.1")))
    async with discovering(api, account) as seen:
        await seen.sees("10.0.0.1:50051")
        await watched(api)
        api.token = "second"
        (account / "token").write_text("second")
        await api.end()
        await api.put(endpoint_slice("a", endpoint("10.0.0.2")))
        await seen.sees("10.0.0.2:50051")

    assert not logged(caplog)


async def test_the_ca_of_the_service_account_is_used(account: Path, certificate: tuple[Path, Path]) -> None:
    api = FakeKubernetes()
    await api.put(endpoint_slice("a", endpoint("10.0.0.1")))
    async with api.served(certificate) as port:
        environment = {"KUBERNETES_SERVICE_HOST": "127.0.0.1", "KUBERNETES_SERVICE_PORT": str(port)}
        server = ApiServer.of_this_pod(environment, account)
        async with following(EndpointSlices(Service.parse("workers.llm:50051"), server)) as seen:
            await seen.sees("10.0.0.1:50051")


async def test_a_ca_without_key_identifiers_is_accepted(
    account: Path, certificate: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(ssl, "create_default_context", _as_in_3_13)
    plain = certificate_without_key_identifiers(tmp_path, certificate)
    api = FakeKubernetes()
    await api.put(endpoint_slice("a", endpoint("10.0.0.1")))
    async with api.served(plain) as port:
        server = ApiServer(f"https://127.0.0.1:{port}", account)
        async with following(EndpointSlices(Service.parse("workers.llm:50051"), server)) as seen:
            await seen.sees("10.0.0.1:50051")


def _as_in_3_13(cafile: str) -> ssl.SSLContext:
    context = _created(cafile=cafile)
    context.verify_flags |= ssl.VERIFY_X509_STRICT
    return context


@pytest.mark.usefixtures("quick")
async def test_another_ca_is_refused(
    account: Path,
    certificate: tuple[Path, Path],
    another_certificate: tuple[Path, Path],
    caplog: pytest.LogCaptureFixture,
) -> None:
    (account / "ca.crt").write_bytes(another_certificate[0].read_bytes())
    api = FakeKubernetes()
    async with api.served(certificate) as port:
        discovery = EndpointSlices(
            Service.parse("workers:50051"), ApiServer(f"https://127.0.0.1:{port}", account)
        )
        async with following(discovery) as seen:
            await until(lambda: bool(logged(caplog)), SOON_SECONDS, "it is logged")
            assert seen.now is None

    assert "CERTIFICATE_VERIFY_FAILED" in str(fields(logged(caplog)[0])["reason"])
    assert not api.asked


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("missing", ["token", "ca.crt"])
async def test_a_pod_without_a_service_account_is_logged(
    account: Path, caplog: pytest.LogCaptureFixture, missing: str
) -> None:
    (account / missing).unlink()
    async with discovering(FakeKubernetes(), account):
        await until(lambda: bool(logged(caplog)), SOON_SECONDS, "it is logged")

    assert "no service account in this pod" in str(fields(logged(caplog)[0])["reason"])


def test_a_pods_environment(account: Path) -> None:
    environment = {"KUBERNETES_SERVICE_HOST": "fd00::1", "KUBERNETES_SERVICE_PORT": "6443"}

    assert ApiServer.of_this_pod(environment, account).url == "https://[fd00::1]:6443"
    assert ApiServer.of_this_pod({"KUBERNETES_SERVICE_HOST": "10.0.0.1"}).url == "https://10.0.0.1:443"
    with pytest.raises(ValueError, match="pod only"):
        ApiServer.of_this_pod({})


@pytest.mark.parametrize(
    ("address", "service"),
    [
        ("workers:50051", Service("workers", "", "50051")),
        ("workers.llm:grpc", Service("workers", "llm", "grpc")),
    ],
)
def test_addresses(address: str, service: Service) -> None:
    assert Service.parse(address) == service


@pytest.mark.parametrize(
    "address",
    ["workers", "workers:", ":1", "a.b.c:1", "a.:1", "a/b:1", "a:0", "a:65536", "a:b/c", "A:1", "a?b:1"],
)
def test_invalid_addresses(address: str) -> None:
    with pytest.raises(ValueError, match="k8s:service"):
        Service.parse(address)


def test_the_setting_is_checked_at_the_start(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "10.0.0.1")
    address = "k8s:workers.llm:grpc"
    assert FrontendSettings.load(["--workers", address]).workers == [address]
    assert [type(way) for way in discoveries_of([address])] == [EndpointSlices]
    with pytest.raises(ValueError, match="namespace is not known"):
        check_service("k8s:workers:grpc")
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST")
    with pytest.raises(SystemExit):
        FrontendSettings.load(["--workers", address])
    assert (
        "--workers (DROVER_FRONTEND_WORKERS): k8s: works in a Kubernetes pod only" in capsys.readouterr().err
    )
