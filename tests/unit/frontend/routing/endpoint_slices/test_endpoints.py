"""Endpoints that become workers."""

from __future__ import annotations

from pathlib import Path

import httpx
import pytest
from kmock import KubernetesEmulator, Server, resource

from frontend.routing.discovery.endpoint_slices import EndpointSlices
from frontend.routing.discovery.kubernetes_api import ApiServer
from frontend.routing.discovery.kubernetes_service import Service
from tests.fakes.kubernetes_api import FakeKubernetes, endpoint, endpoint_slice
from tests.support.waiting import until
from tests.unit.frontend.routing.endpoint_slices.running_discovery import (
    NEW_WORKER_SECONDS,
    SOON_SECONDS,
    discovering,
    fields,
    following,
    kinds,
    logged,
    watched,
)


async def test_a_worker_is_added_and_removed(account: Path) -> None:
    api = FakeKubernetes()
    await api.put(endpoint_slice("a", endpoint("10.0.0.1")))
    async with discovering(api, account) as seen:
        await seen.sees("10.0.0.1:50051")
        await watched(api)
        await api.put(endpoint_slice("a", endpoint("10.0.0.1"), endpoint("10.0.0.2")))
        took_seconds = await seen.sees("10.0.0.1:50051", "10.0.0.2:50051")
        await api.put(endpoint_slice("a", endpoint("10.0.0.2")))
        await seen.sees("10.0.0.2:50051")
        await api.delete("a")
        await seen.sees()

    assert took_seconds < NEW_WORKER_SECONDS
    assert kinds(api) == ["list", "watch"]
    assert api.asked[0][1]["labelSelector"] == "kubernetes.io/service-name=workers"


async def test_a_service_without_workers_gives_an_empty_list(account: Path) -> None:
    async with discovering(FakeKubernetes(), account) as seen:
        await seen.sees()


async def test_all_slices_of_the_service_count_and_no_other(account: Path) -> None:
    api = FakeKubernetes()
    await api.put(endpoint_slice("a", endpoint("10.0.0.1"), endpoint("10.0.0.2")))
    await api.put(endpoint_slice("b", endpoint("10.0.0.2"), endpoint("10.0.0.3")))
    await api.put(endpoint_slice("c", endpoint("10.0.0.9"), service="another"))
    async with discovering(api, account) as seen:
        await seen.sees("10.0.0.1:50051", "10.0.0.2:50051", "10.0.0.3:50051")
        await watched(api)
        await api.put(endpoint_slice("a", endpoint("10.0.0.1")))
        await api.put(endpoint_slice("c", service="another"))
        await api.delete("b")
        await seen.sees("10.0.0.1:50051")


async def test_a_pod_with_addresses_of_both_families_is_one_worker(account: Path) -> None:
    api = FakeKubernetes()
    await api.put(endpoint_slice("six", endpoint("fd00::1", uid="p1"), endpoint("fd00::2"), family="IPv6"))
    async with discovering(api, account) as seen:
        await seen.sees("[fd00::1]:50051", "[fd00::2]:50051")
        await watched(api)
        await api.put(endpoint_slice("four", endpoint("10.0.0.1", uid="p1"), endpoint("10.0.0.3", uid="p3")))
        await seen.sees("10.0.0.3:50051", "[fd00::1]:50051", "[fd00::2]:50051")
        await api.put(endpoint_slice("six", endpoint("fd00::3", uid="p3"), family="IPv6"))
        await seen.sees("10.0.0.1:50051", "10.0.0.3:50051")


async def test_a_worker_is_added_when_ready_and_stays_until_it_is_gone(account: Path) -> None:
    api = FakeKubernetes()
    await api.put(endpoint_slice("a", endpoint("10.0.0.1", ready=False), endpoint("10.0.0.2")))
    async with discovering(api, account) as seen:
        await seen.sees("10.0.0.2:50051")
        await watched(api)
        draining = endpoint("10.0.0.2", ready=False, terminating=True)
        await api.put(endpoint_slice("a", endpoint("10.0.0.1", ready=None), draining))
        await seen.sees("10.0.0.1:50051", "10.0.0.2:50051")
        await api.put(endpoint_slice("a", endpoint("10.0.0.1", ready=False), draining))
        await api.put(endpoint_slice("b", endpoint("10.0.0.3")))
        await seen.sees("10.0.0.1:50051", "10.0.0.2:50051", "10.0.0.3:50051")
        await api.put(endpoint_slice("a", endpoint("10.0.0.1", ready=False)))
        await seen.sees("10.0.0.1:50051", "10.0.0.3:50051")


async def test_omitted_and_null_values(account: Path) -> None:
    api = FakeKubernetes()
    await api.put(endpoint_slice("a", {"addresses": ["10.0.0.1"]}, {"addresses": ["10.0.0.2"]}))
    await api.put({**endpoint_slice("b"), "endpoints": None, "ports": None})
    async with discovering(api, account) as seen:
        await seen.sees("10.0.0.1:50051", "10.0.0.2:50051")


async def test_a_port_by_name(account: Path, caplog: pytest.LogCaptureFixture) -> None:
    api = FakeKubernetes()
    await api.put(endpoint_slice("a", endpoint("10.0.0.1")))
    await api.put(endpoint_slice("b", endpoint("10.0.0.2"), ports=[{"name": "grpc", "port": 50052}]))
    await api.put(endpoint_slice("c", endpoint("10.0.0.3"), ports=[{"name": "http", "port": 80}]))
    async with discovering(api, account, "workers:grpc") as seen:
        await seen.sees("10.0.0.1:50051", "10.0.0.2:50052")

    assert [fields(record)["slice"] for record in logged(caplog)] == ["c"]
    assert "no port grpc" in str(fields(logged(caplog)[0])["reason"])


async def test_a_list_in_pages_is_used_when_it_is_complete(account: Path) -> None:
    api = FakeKubernetes(page_limit=10)
    for number in range(95):
        await api.put(endpoint_slice(f"s{number:03}", endpoint(f"10.0.1.{number}")))
    api.expire_next_page()
    async with discovering(api, account) as seen:
        await until(lambda: len(seen.now or ()) == 95, SOON_SECONDS, "all are there")
        assert seen.times == 1

    assert kinds(api)[:2] == ["list", "list"]
    assert api.asked[2][1].get("continue") is None, "a list that expired begins anew"
    assert kinds(api).count("list") == 12


async def test_against_kmock(account: Path) -> None:
    """Against another implementation of the API."""
    kind = resource("discovery.k8s.io", "v1", "endpointslices")
    kmock = KubernetesEmulator()
    kmock.objects[kind, "llm", "a"] = endpoint_slice("a", endpoint("10.0.0.1"))
    async with kmock, Server(kmock) as server, httpx.AsyncClient(base_url=str(server.url)) as kubectl:
        api = ApiServer(str(server.url).rstrip("/"), account)
        path = "/apis/discovery.k8s.io/v1/namespaces/llm/endpointslices"
        async with following(EndpointSlices(Service.parse("workers:50051"), api)) as seen:
            await seen.sees("10.0.0.1:50051")
            await kubectl.post(path, json=endpoint_slice("b", endpoint("10.0.0.2")))
            await seen.sees("10.0.0.1:50051", "10.0.0.2:50051")
            await kubectl.delete(f"{path}/a")
            await seen.sees("10.0.0.2:50051")
