"""Workers behind a Service of Kubernetes, against a played API."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
from kmock import KubernetesEmulator, Server, resource

from frontend.fleet.discovery import check_service, discoveries_of, endpoint_slices
from frontend.fleet.discovery.endpoint_slices import EndpointSlices, Service
from frontend.fleet.discovery.kubernetes_api import ApiServer
from frontend.settings import FrontendSettings
from tests.fakes.kubernetes_api import PlayedKubernetes, endpoint, endpoint_slice
from tests.support.certificates import certificate_of_localhost
from tests.support.waiting import until

_SOON_SECONDS = 10.0
_NEW_WORKER_SECONDS = 5.0


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


@dataclass
class Following:
    """What a discovery has told last, and how often it has told anything."""

    now: Sequence[str] | None = None
    times: int = 0

    async def sees(self, *addresses: str, within_seconds: float = _SOON_SECONDS) -> float:
        return await until(
            lambda: self.now == list(addresses), within_seconds, f"{addresses}, not {self.now}"
        )


@asynccontextmanager
async def _following(discovery: EndpointSlices) -> AsyncIterator[Following]:
    seen = Following()

    async def follow() -> None:
        async with aclosing(discovery.addresses()) as lists:
            async for addresses in lists:
                seen.now = addresses
                seen.times += 1

    task = asyncio.create_task(follow(), name="follow the discovery")
    try:
        yield seen
        assert not task.done(), "a discovery never ends"
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


@asynccontextmanager
async def _played(
    api: PlayedKubernetes, account: Path, place: str = "workers:50051"
) -> AsyncIterator[Following]:
    async with api.served() as port:
        discovery = EndpointSlices(Service.parse(place), ApiServer(f"http://127.0.0.1:{port}", account))
        async with _following(discovery) as seen:
            yield seen


def _kinds(api: PlayedKubernetes) -> list[str]:
    return [kind for kind, _ in api.asked]


async def _watched(api: PlayedKubernetes) -> None:
    await until(lambda: api.watching > 0, _SOON_SECONDS, "it is watched")


async def test_a_worker_appears_at_once_and_leaves(account: Path) -> None:
    api = PlayedKubernetes()
    await api.put(endpoint_slice("a", endpoint("10.0.0.1")))
    async with _played(api, account) as seen:
        await seen.sees("10.0.0.1:50051")
        await _watched(api)
        await api.put(endpoint_slice("a", endpoint("10.0.0.1"), endpoint("10.0.0.2")))
        took_seconds = await seen.sees("10.0.0.1:50051", "10.0.0.2:50051")
        await api.put(endpoint_slice("a", endpoint("10.0.0.2")))
        await seen.sees("10.0.0.2:50051")
        await api.delete("a")
        await seen.sees()

    assert took_seconds < _NEW_WORKER_SECONDS
    assert _kinds(api) == ["list", "watch"]
    assert api.asked[0][1]["labelSelector"] == "kubernetes.io/service-name=workers"


async def test_a_service_without_workers_is_told_as_such(account: Path) -> None:
    async with _played(PlayedKubernetes(), account) as seen:
        await seen.sees()


async def test_all_slices_of_the_service_count_and_no_other(account: Path) -> None:
    api = PlayedKubernetes()
    await api.put(endpoint_slice("a", endpoint("10.0.0.1"), endpoint("10.0.0.2")))
    await api.put(endpoint_slice("b", endpoint("10.0.0.2"), endpoint("10.0.0.3")))
    await api.put(endpoint_slice("c", endpoint("10.0.0.9"), service="another"))
    async with _played(api, account) as seen:
        await seen.sees("10.0.0.1:50051", "10.0.0.2:50051", "10.0.0.3:50051")
        await _watched(api)
        await api.put(endpoint_slice("a", endpoint("10.0.0.1")))
        await api.put(endpoint_slice("c", service="another"))
        await api.delete("b")
        await seen.sees("10.0.0.1:50051")


async def test_both_families_and_a_pod_that_has_both_is_one_worker(account: Path) -> None:
    api = PlayedKubernetes()
    await api.put(endpoint_slice("six", endpoint("fd00::1", uid="p1"), endpoint("fd00::2"), family="IPv6"))
    async with _played(api, account) as seen:
        await seen.sees("[fd00::1]:50051", "[fd00::2]:50051")
        await _watched(api)
        await api.put(endpoint_slice("four", endpoint("10.0.0.1", uid="p1"), endpoint("10.0.0.3", uid="p3")))
        await seen.sees("10.0.0.3:50051", "[fd00::1]:50051", "[fd00::2]:50051")
        await api.put(endpoint_slice("six", endpoint("fd00::3", uid="p3"), family="IPv6"))
        await seen.sees("10.0.0.1:50051", "10.0.0.3:50051")


async def test_a_worker_joins_when_it_is_ready_and_keeps_its_place_until_it_is_gone(account: Path) -> None:
    api = PlayedKubernetes()
    await api.put(endpoint_slice("a", endpoint("10.0.0.1", ready=False), endpoint("10.0.0.2")))
    async with _played(api, account) as seen:
        await seen.sees("10.0.0.2:50051")
        await _watched(api)
        draining = endpoint("10.0.0.2", ready=False, terminating=True)
        await api.put(endpoint_slice("a", endpoint("10.0.0.1", ready=None), draining))
        await seen.sees("10.0.0.1:50051", "10.0.0.2:50051")
        await api.put(endpoint_slice("a", endpoint("10.0.0.1", ready=False), draining))
        await api.put(endpoint_slice("b", endpoint("10.0.0.3")))
        await seen.sees("10.0.0.1:50051", "10.0.0.2:50051", "10.0.0.3:50051")
        await api.put(endpoint_slice("a", endpoint("10.0.0.1", ready=False)))
        await seen.sees("10.0.0.1:50051", "10.0.0.3:50051")


async def test_what_go_leaves_out_or_sends_as_null(account: Path) -> None:
    api = PlayedKubernetes()
    await api.put(endpoint_slice("a", {"addresses": ["10.0.0.1"]}, {"addresses": ["10.0.0.2"]}))
    await api.put({**endpoint_slice("b"), "endpoints": None, "ports": None})
    async with _played(api, account) as seen:
        await seen.sees("10.0.0.1:50051", "10.0.0.2:50051")


async def test_a_port_by_name(account: Path, caplog: pytest.LogCaptureFixture) -> None:
    api = PlayedKubernetes()
    await api.put(endpoint_slice("a", endpoint("10.0.0.1")))
    await api.put(endpoint_slice("b", endpoint("10.0.0.2"), ports=[{"name": "grpc", "port": 50052}]))
    await api.put(endpoint_slice("c", endpoint("10.0.0.3"), ports=[{"name": "http", "port": 80}]))
    async with _played(api, account, "workers:grpc") as seen:
        await seen.sees("10.0.0.1:50051", "10.0.0.2:50052")

    assert [_fields(record)["slice"] for record in _told(caplog)] == ["c"]
    assert "no port grpc" in str(_fields(_told(caplog)[0])["reason"])


async def test_a_long_list_comes_in_pages_and_shows_when_it_is_complete(account: Path) -> None:
    api = PlayedKubernetes(page_limit=10)
    for number in range(95):
        await api.put(endpoint_slice(f"s{number:03}", endpoint(f"10.0.1.{number}")))
    api.expire_next_page()
    async with _played(api, account) as seen:
        await until(lambda: len(seen.now or ()) == 95, _SOON_SECONDS, "all are there")
        assert seen.times == 1

    assert _kinds(api)[:2] == ["list", "list"]
    assert api.asked[2][1].get("continue") is None, "a list that expired begins anew"
    assert _kinds(api).count("list") == 12


async def test_what_was_missed_is_listed_again_when_the_history_is_forgotten(account: Path) -> None:
    api = PlayedKubernetes()
    await api.put(endpoint_slice("a", endpoint("10.0.0.1")))
    async with _played(api, account) as seen:
        await seen.sees("10.0.0.1:50051")
        await _watched(api)
        api.refuse_with = 503
        await api.end()
        await api.put(endpoint_slice("b", endpoint("10.0.0.2")))
        await api.delete("a")
        await api.forget()
        api.refuse_with = 0
        await seen.sees("10.0.0.2:50051", within_seconds=_NEW_WORKER_SECONDS)


@pytest.mark.parametrize("cut", [True, False])
async def test_a_watch_that_ends_is_taken_up_where_it_was(account: Path, cut: bool) -> None:
    api = PlayedKubernetes()
    await api.put(endpoint_slice("a", endpoint("10.0.0.1")))
    async with _played(api, account) as seen:
        await seen.sees("10.0.0.1:50051")
        await _watched(api)
        await api.bookmark()
        await (api.cut() if cut else api.end())
        await api.put(endpoint_slice("b", endpoint("10.0.0.2")))
        await seen.sees("10.0.0.1:50051", "10.0.0.2:50051", within_seconds=_NEW_WORKER_SECONDS)

    # A list after a cut may show it already, before the next watch.
    assert _kinds(api)[:3] == ["list", "watch", "list" if cut else "watch"]
    if not cut:
        assert api.asked[2][1]["resourceVersion"] > api.asked[1][1]["resourceVersion"], "the bookmark counts"


async def test_an_api_that_is_away_changes_nothing(account: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "drover.fleet")
    api = PlayedKubernetes()
    await api.put(endpoint_slice("a", endpoint("10.0.0.1")))
    async with _played(api, account) as seen:
        await seen.sees("10.0.0.1:50051")
        await _watched(api)
        api.refuse_with = 500
        await api.cut()
        asked = len(api.asked)
        await until(lambda: len(api.asked) >= asked + 4, _SOON_SECONDS, "it is asked again and again")
        assert seen.now == ["10.0.0.1:50051"]
        assert seen.times == 1
        api.refuse_with = 0
        await api.put(endpoint_slice("b", endpoint("10.0.0.2")))
        await seen.sees("10.0.0.1:50051", "10.0.0.2:50051", within_seconds=_NEW_WORKER_SECONDS)
        await until(lambda: "the Kubernetes API answers" in caplog.messages, _SOON_SECONDS, "it is told")

    reasons = [str(_fields(record).get("reason")) for record in _told(caplog)]
    assert reasons.count("status 500") == 1


async def test_pauses_grow_to_a_bound(monkeypatch: pytest.MonkeyPatch, account: Path) -> None:
    pauses: list[float] = []
    sleep = asyncio.sleep

    async def noted(seconds: float) -> None:
        pauses.append(seconds)
        await sleep(0)

    monkeypatch.setattr(asyncio, "sleep", noted)
    discovery = EndpointSlices(Service.parse("workers:1"), ApiServer("http://127.0.0.1:9", account))
    for _ in range(50):
        await discovery._pause()

    assert 0.05 <= pauses[0] <= 0.1
    assert 2.0 <= min(pauses[10:]) < max(pauses[10:]) <= 4.0


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize(
    ("api", "words"),
    [
        (PlayedKubernetes(token="another"), ["401", "token"]),
        (PlayedKubernetes(forbidden_verbs=frozenset({"list"})), ["403", "Role in namespace llm", '"watch"']),
        (PlayedKubernetes(forbidden_verbs=frozenset({"watch"})), ["403", "endpointslices", "RoleBinding"]),
    ],
)
async def test_a_refusal_is_told_once_with_the_rule_that_is_missing(
    account: Path, caplog: pytest.LogCaptureFixture, api: PlayedKubernetes, words: list[str]
) -> None:
    async with _played(api, account):
        await until(lambda: len(api.asked) >= 10, _SOON_SECONDS, "it is asked again and again")

    (told,) = _told(caplog)
    assert told.levelno == logging.ERROR
    assert all(word in str(_fields(told)["reason"]) for word in words)


async def test_a_token_that_was_replaced_is_used(account: Path, caplog: pytest.LogCaptureFixture) -> None:
    api = PlayedKubernetes()
    await api.put(endpoint_slice("a", endpoint("10.0.0.1")))
    async with _played(api, account) as seen:
        await seen.sees("10.0.0.1:50051")
        await _watched(api)
        api.token = "second"
        (account / "token").write_text("second")
        await api.end()
        await api.put(endpoint_slice("a", endpoint("10.0.0.2")))
        await seen.sees("10.0.0.2:50051")

    assert not _told(caplog)


_NO_OBJECT = (
    b'{"type": "ADDED", "object": {"metadata": {"name": "a"}, "addressType": "IPv4", "endpoints": 7}}'
)
_NO_ADDRESS = endpoint_slice("a", {"addresses": [], "conditions": {}})
_A_NAME = endpoint_slice("a", {"addresses": ["x.example"]}, family="FQDN")


@pytest.mark.parametrize("item", [{**_NO_ADDRESS, "endpoints": "none"}, _NO_ADDRESS, _A_NAME])
async def test_a_slice_that_cannot_be_read_changes_nothing_and_is_told_once(
    account: Path, caplog: pytest.LogCaptureFixture, item: dict[str, object]
) -> None:
    api = PlayedKubernetes()
    await api.put(endpoint_slice("a", endpoint("10.0.0.1")))
    async with _played(api, account) as seen:
        await seen.sees("10.0.0.1:50051")
        await _watched(api)
        await api.put(item)
        await api.put(item)
        await api.cut()
        await api.put(endpoint_slice("b", endpoint("10.0.0.2")))
        await seen.sees("10.0.0.1:50051", "10.0.0.2:50051")
        await api.put(endpoint_slice("a", endpoint("10.0.0.3")))
        await seen.sees("10.0.0.2:50051", "10.0.0.3:50051")

    told = [record for record in _told(caplog) if record.message == "an EndpointSlice is not used"]
    assert [_fields(record)["slice"] for record in told] == ["a"]


@pytest.mark.parametrize(
    "line",
    [
        b"<html>",
        b'{"type": "ADDED"}',
        b'{"type": "ADDED", "object": {}}',
        b'{"type": "ERROR", "object": {"code": 500}}',
        b"[" * 100_000,
    ],
)
async def test_a_watch_that_cannot_be_read_is_begun_anew(account: Path, line: bytes) -> None:
    api = PlayedKubernetes()
    await api.put(endpoint_slice("a", endpoint("10.0.0.1")))
    async with _played(api, account) as seen:
        await seen.sees("10.0.0.1:50051")
        await _watched(api)
        await api.send(line)
        await api.put(endpoint_slice("b", endpoint("10.0.0.2")))
        await seen.sees("10.0.0.1:50051", "10.0.0.2:50051")

    assert _kinds(api)[:3] == ["list", "watch", "list"]


async def test_the_authority_is_that_of_the_service_account(
    account: Path, certificate: tuple[Path, Path]
) -> None:
    api = PlayedKubernetes()
    await api.put(endpoint_slice("a", endpoint("10.0.0.1")))
    async with api.served(certificate) as port:
        environment = {"KUBERNETES_SERVICE_HOST": "127.0.0.1", "KUBERNETES_SERVICE_PORT": str(port)}
        server = ApiServer.of_this_pod(environment, account)
        async with _following(EndpointSlices(Service.parse("workers.llm:50051"), server)) as seen:
            await seen.sees("10.0.0.1:50051")


@pytest.mark.usefixtures("quick")
async def test_another_authority_is_not_believed(
    account: Path,
    certificate: tuple[Path, Path],
    another_certificate: tuple[Path, Path],
    caplog: pytest.LogCaptureFixture,
) -> None:
    (account / "ca.crt").write_bytes(another_certificate[0].read_bytes())
    api = PlayedKubernetes()
    async with api.served(certificate) as port:
        discovery = EndpointSlices(
            Service.parse("workers:50051"), ApiServer(f"https://127.0.0.1:{port}", account)
        )
        async with _following(discovery) as seen:
            await until(lambda: bool(_told(caplog)), _SOON_SECONDS, "it is told")
            assert seen.now is None

    assert "CERTIFICATE_VERIFY_FAILED" in str(_fields(_told(caplog)[0])["reason"])
    assert not api.asked


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("missing", ["token", "ca.crt"])
async def test_a_pod_without_a_service_account_says_so(
    account: Path, caplog: pytest.LogCaptureFixture, missing: str
) -> None:
    (account / missing).unlink()
    async with _played(PlayedKubernetes(), account):
        await until(lambda: bool(_told(caplog)), _SOON_SECONDS, "it is told")

    assert "no service account in this pod" in str(_fields(_told(caplog)[0])["reason"])


async def test_against_kmock(account: Path) -> None:
    """Somebody else's idea of the API."""
    kind = resource("discovery.k8s.io", "v1", "endpointslices")
    kmock = KubernetesEmulator()
    kmock.objects[kind, "llm", "a"] = endpoint_slice("a", endpoint("10.0.0.1"))
    async with kmock, Server(kmock) as server, httpx.AsyncClient(base_url=str(server.url)) as kubectl:
        api = ApiServer(str(server.url).rstrip("/"), account)
        path = "/apis/discovery.k8s.io/v1/namespaces/llm/endpointslices"
        async with _following(EndpointSlices(Service.parse("workers:50051"), api)) as seen:
            await seen.sees("10.0.0.1:50051")
            await kubectl.post(path, json=endpoint_slice("b", endpoint("10.0.0.2")))
            await seen.sees("10.0.0.1:50051", "10.0.0.2:50051")
            await kubectl.delete(f"{path}/a")
            await seen.sees("10.0.0.2:50051")


def test_a_pods_environment(account: Path) -> None:
    environment = {"KUBERNETES_SERVICE_HOST": "fd00::1", "KUBERNETES_SERVICE_PORT": "6443"}

    assert ApiServer.of_this_pod(environment, account).url == "https://[fd00::1]:6443"
    assert ApiServer.of_this_pod({"KUBERNETES_SERVICE_HOST": "10.0.0.1"}).url == "https://10.0.0.1:443"
    with pytest.raises(ValueError, match="pod only"):
        ApiServer.of_this_pod({})


@pytest.mark.parametrize(
    ("place", "service"),
    [
        ("workers:50051", Service("workers", "", "50051")),
        ("workers.llm:grpc", Service("workers", "llm", "grpc")),
    ],
)
def test_a_place(place: str, service: Service) -> None:
    assert Service.parse(place) == service


@pytest.mark.parametrize(
    "place",
    ["workers", "workers:", ":1", "a.b.c:1", "a.:1", "a/b:1", "a:0", "a:65536", "a:b/c", "A:1", "a?b:1"],
)
def test_what_is_no_place(place: str) -> None:
    with pytest.raises(ValueError, match="k8s:service"):
        Service.parse(place)


def test_the_setting_is_checked_at_the_start(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "10.0.0.1")
    place = "k8s:workers.llm:grpc"
    assert FrontendSettings.load(["--workers", place]).workers == [place]
    assert [type(way) for way in discoveries_of([place])] == [EndpointSlices]
    with pytest.raises(ValueError, match="namespace is not known"):
        check_service("k8s:workers:grpc")
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST")
    with pytest.raises(SystemExit):
        FrontendSettings.load(["--workers", place])
    assert (
        "--workers (DROVER_FRONTEND_WORKERS): k8s: works in a Kubernetes pod only" in capsys.readouterr().err
    )


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(endpoint_slices, "_LONGEST_PAUSE_SECONDS", 0.05)


def _told(caplog: pytest.LogCaptureFixture) -> list[logging.LogRecord]:
    return [record for record in caplog.records if record.name == "drover.fleet"]


def _fields(record: logging.LogRecord) -> dict[str, object]:
    fields: dict[str, object] = record.__dict__["fields"]
    return fields
