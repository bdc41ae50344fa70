"""The OpenAPI document against both tiers as processes: schemathesis makes requests from it, and every answer
must be one that it tells of.

Checked are statuses, content types, headers and bodies, each line of a stream, and that each answer comes in
time. Of schemathesis's other checks none is meant:

- `negative_data_rejection`: Ollama's contract is lenient, unknown fields and other letter case are fine, and
  an empty prompt answers before much of a request is looked at.
- `positive_data_acceptance`: whether a model is there, and what it can do, no schema can tell.
- `not_a_server_error`: some of a client's mistakes are answered with 500 and 501, as upstream does. A fault
  of ours would be, too: it has words of its own and leaves a traceback, and neither may be seen.
- those of stateful runs and of authentication: there are no links and no accounts.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from hashlib import sha256
from itertools import islice
from pathlib import Path
from random import Random
from typing import Any
from zlib import crc32

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis import APIOperation, BaseSchema, GenerationMode
from schemathesis.config import GenerationConfig
from schemathesis.core.result import Ok
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from frontend.openapi.document import build
from tests.contract.openapi_conformance import AnyCase, closed, faults
from tests.support.processes import Process, frontend, worker

AnyOperation = APIOperation[Any, Any, Any, Any]
DOCUMENT = closed(build("0.40.12"))
SCHEMA: BaseSchema = schemathesis.openapi.from_dict(DOCUMENT)


def _operations() -> Iterator[AnyOperation]:
    for found in SCHEMA.get_all_operations():
        assert isinstance(found, Ok)
        yield found.ok()


OPERATIONS = {operation.label: operation for operation in _operations()}
CHECKS = [
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]
# Random requests from each schema, and at most so many of those that walk along its borders.
EXAMPLES = 40
COVERAGE_CASES = 400
LONGEST_SECONDS = 15.0
JOINED_SECONDS = 20.0
# By path, the names that most requests get where they have any: most are for the simulator.
AIMS = {
    "/api/embed": {"model": "vectors"},
    "/api/embeddings": {"model": "vectors"},
    "/v1/embeddings": {"model": "vectors"},
    **{f"{version}/rerank": {"model": "ranker"} for version in ("", "/v1", "/v2")},
    **{f"{version}/score": {"model": "ranker"} for version in ("", "/v1")},
    **{f"{version}/classify": {"model": "classes"} for version in ("", "/v1")},
    "/api/create": {"model": "made", "from": "sim"},
    "/api/copy": {"source": "sim", "destination": "made"},
    "/api/delete": {"model": "made"},
}
AIMED = 0.8
NAMES = ("sim", "SIM:latest", "vectors", "ranker", "classes", "made", "nowhere", "no name")
# Fields of `create` with which it always fails.
REFUSED = ("files", "adapters", "quantize", "quantization", "template")
# Every way a request can go on from here is short.
_WORKER = (
    "--engine=simulator",
    "--sim-answer-tokens-min=1",
    "--sim-answer-tokens-max=6",
    "--log-level=warning",
)


@dataclass(frozen=True)
class Server:
    frontend: Process
    workers: tuple[Process, ...]

    @property
    def url(self) -> str:
        return f"http://{self.frontend.address}"

    def stored_response(self, streamed: bool) -> str:
        """The id of a new one. `streamed`: it runs in the background and its events can be read."""
        body = {"model": "sim", "input": "hi", "background": streamed, "stream": streamed}
        answer = httpx.post(f"{self.url}/v1/responses", json=body)
        found = re.search(r"resp_[0-9a-f]+", answer.text)
        assert found is not None, answer.text
        return found[0]

    def is_complete(self) -> bool:
        models = httpx.get(f"{self.url}/api/tags").json()["models"]
        return {model["name"] for model in models} == {
            *("sim:latest", "vectors:latest", "ranker:latest", "classes:latest")
        }


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = Path(tmp_path_factory.mktemp("openapi"))
    with ExitStack() as processes:
        begin = processes.enter_context
        workers = (
            begin(worker(folder / "sim.log", *_WORKER, "--model=sim")),
            begin(worker(folder / "vectors.log", *_WORKER, "--model=vectors", "--task=embed")),
            begin(worker(folder / "ranker.log", *_WORKER, "--model=ranker", "--task=rerank")),
            begin(worker(folder / "classes.log", *_WORKER, "--model=classes", "--task=classify")),
        )
        addresses = [each.address for each in workers]
        front = begin(frontend(folder / "frontend.log", addresses, "--store-responses"))
        server = Server(front, workers)
        _wait_for(server)
        yield server
        for process in (front, *workers):
            assert "Traceback" not in process.log_text()
        assert "InternalError" not in front.log_text()


def _wait_for(server: Server) -> None:
    deadline = time.monotonic() + JOINED_SECONDS
    while not server.is_complete():
        assert time.monotonic() < deadline, "not all workers have joined"
        time.sleep(0.05)


def test_it_is_served_as_it_is_built(server: Server) -> None:
    answer = httpx.get(f"{server.url}/openapi.json")

    assert (answer.status_code, answer.headers["content-type"]) == (200, "application/json")
    assert answer.json() == build("0.40.12")


def _modes(operation: AnyOperation) -> list[GenerationMode]:
    """Without a body no request can break the schema."""
    return [GenerationMode.POSITIVE, *([GenerationMode.NEGATIVE] if operation.body else [])]


@pytest.mark.parametrize(
    ("label", "mode"),
    [
        pytest.param(label, mode, id=f"{label}-{mode.value}")
        for label, operation in OPERATIONS.items()
        for mode in _modes(operation)
    ],
)
def test_random_requests(label: str, mode: GenerationMode, server: Server) -> None:
    operation = OPERATIONS[label]

    @settings(
        max_examples=EXAMPLES,
        deadline=None,
        derandomize=True,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(case=operation.as_strategy(generation_mode=mode))
    def ask(case: AnyCase) -> None:
        _check(case, server)

    ask()


@pytest.mark.parametrize("label", OPERATIONS)
def test_requests_along_the_borders(label: str, server: Server) -> None:
    cases = SCHEMA.iter_coverage_cases(
        OPERATIONS[label],
        generation_modes=list(GenerationMode),
        generation_config=GenerationConfig(deterministic=True),
    )
    for case in islice(cases, COVERAGE_CASES):
        if case.method.upper() == case.operation.method.upper():
            _check(case, server)


def _check(case: AnyCase, server: Server) -> None:
    _aim(case, server)
    began = time.monotonic()
    response = case.call(base_url=server.url, timeout=LONGEST_SECONDS, allow_redirects=False)
    assert time.monotonic() - began < LONGEST_SECONDS, "this took too long"
    case.validate_response(response, checks=CHECKS)
    found = list(faults(DOCUMENT, case, response))
    assert not found, (found, case.as_curl_command(), response.text[:2_000])


def _aim(case: AnyCase, server: Server) -> None:
    """Requests get names of models that are there, and blobs their digest: random ones end at the first look.
    What is chosen hangs on the request alone, so that it is the same in every run.
    """
    dice = Random(crc32(repr(case.body).encode()))
    if case.operation.path.startswith("/api/blobs/"):
        if dice.random() < AIMED:
            data = repr(case.body).encode()
            case.body = data
            case.path_parameters = {"digest": f"sha256:{sha256(data).hexdigest()}"}
        return
    if case.operation.path.startswith("/v1/responses/{id}"):
        # Of random ids none is there.
        case.path_parameters = {"id": server.stored_response(streamed=bool(case.query))}
        return
    if not isinstance(case.body, dict):
        return
    body = dict(case.body)
    for field, name in AIMS.get(case.operation.path, {"model": "sim"}).items():
        if isinstance(body.get(field), str) or (field in body and dice.random() < AIMED):
            body[field] = name if dice.random() < AIMED else dice.choice(NAMES)
    if dice.random() < AIMED:
        for field in REFUSED:
            body.pop(field, None)
    case.body = body
