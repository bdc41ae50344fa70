"""A worker listed by a fake Kubernetes API gets requests, and is removed with its EndpointSlice."""

from __future__ import annotations

from pathlib import Path

import pytest

from frontend.routing.backends.grpc.worker import GrpcWorker
from frontend.routing.discovery.endpoint_slices import EndpointSlices
from frontend.routing.discovery.kubernetes_api import ApiServer
from frontend.routing.discovery.kubernetes_service import Service
from frontend.routing.fleet import Fleet
from frontend.routing.model_queue import QueueTable
from frontend.routing.policies import policy_of
from tests.fakes.kubernetes_api import FakeKubernetes, endpoint, endpoint_slice
from tests.support.certificates import certificate_of_localhost
from tests.support.processes import worker
from tests.support.waiting import until

# The most that a new worker may take to join.
_NEW_WORKER_SECONDS = 5.0


@pytest.fixture
def account(tmp_path: Path) -> Path:
    (tmp_path / "token").write_text("first")
    (tmp_path / "namespace").write_text("llm")
    return tmp_path


async def test_a_new_worker_takes_traffic_within_five_seconds(account: Path) -> None:
    tls = certificate_of_localhost(account)
    api = FakeKubernetes()
    with worker(account / "worker.log", "--engine", "simulator", "--model", "sim") as running:
        async with api.served(tls) as port:
            server = ApiServer(f"https://127.0.0.1:{port}", account)
            place = f"workers:{running.address.rpartition(':')[2]}"
            discovery = EndpointSlices(Service.parse(place), server)
            fleet = Fleet([discovery], GrpcWorker, policy_of("prefix"), QueueTable(10, 1.0))
            await fleet.start()
            try:
                await until(lambda: api.watching > 0, _NEW_WORKER_SECONDS, "it is watched")
                await api.put(endpoint_slice("a", endpoint("127.0.0.1")))
                took_seconds = await until(lambda: fleet.has_ready_worker, _NEW_WORKER_SECONDS, "it is ready")
                await api.put(endpoint_slice("a"))
                await until(lambda: not fleet.workers(), _NEW_WORKER_SECONDS, "it is gone")
            finally:
                await fleet.stop()

    assert took_seconds < _NEW_WORKER_SECONDS
