"""The server that the recording was made with, as far as Drover can be it: SmolLM2 as `smol:latest` with the
template and parameters of its `show`, and a context of 2048 tokens.
"""

from __future__ import annotations

import json
from collections.abc import Generator, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from tests.contract.fleet import FleetProcesses, whole_fleet
from tests.contract.recorded import Recorded, replayed
from tests.support.processes import Stack, stack

TEMPLATE = (
    "{{- range .Messages }}<|im_start|>{{ .Role }}\n{{ .Content }}<|im_end|>\n{{ end }}"
    "<|im_start|>assistant\n"
)
PARAMETERS = {"stop": ["<|im_start|>", "<|im_end|>"], "temperature": 0}
# One prompt fills half of the context: 40 s of prefill were seen on two busy cores.
_LONGEST_SECONDS = 300.0


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Fail a contract test that is skipped: it proves nothing unless it runs."""
    report = yield
    if report.outcome == "skipped" and not hasattr(report, "wasxfail"):
        report.outcome = "failed"
    return report


@dataclass(frozen=True)
class Answer:
    status: int
    headers: Mapping[str, str]
    text: str


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    folder = tmp_path_factory.mktemp("contract")
    template = folder / "smol.gotmpl"
    template.write_text(TEMPLATE)
    flags = [
        "--name=smol:latest",
        f"--chat-template={template}",
        f"--parameters={json.dumps(PARAMETERS)}",
        "--context-length=2048",
    ]
    with stack(Path(folder), flags) as running:
        yield running


@pytest.fixture(scope="session")
def answers(server: Stack) -> Mapping[int, Answer]:
    """Ours to every recorded request, in the recorded order."""
    with httpx.Client(base_url=server.url, timeout=_LONGEST_SECONDS, follow_redirects=False) as client:
        return {each.number: _answer(client, each) for each in replayed()}


def _answer(client: httpx.Client, recorded: Recorded) -> Answer:
    response = client.request(
        recorded.method, recorded.path, content=recorded.body, headers=dict(recorded.headers)
    )
    return Answer(response.status_code, response.headers, response.text)


@pytest.fixture(scope="session")
def fleet(server: Stack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[FleetProcesses]:
    with whole_fleet(tmp_path_factory.mktemp("fleet"), server.worker) as running:
        yield running


@pytest.fixture(scope="session")
def http(fleet: FleetProcesses) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=fleet.url, timeout=_LONGEST_SECONDS) as client:
        yield client
