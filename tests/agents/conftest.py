"""Where the agents are (DROVER_AGENTS, set by `make test-agents`), and a fleet of simulators.

With AGENT_RECORDS=folder all requests of the agents are kept there, a folder for each test.
"""

from __future__ import annotations

import json
import os
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

import pytest

from tests.agents.programs import AGENTS, CONTEXT_TOKENS, MODELS, Agent
from tests.agents.runs import Run, running
from tests.agents.task import DONE, NOTES, OUT, WORDS, WRITTEN, note, script
from tests.chaos.fleet import Fleet, running_fleet
from tests.support.waiting import until

Start = Callable[..., AbstractAsyncContextManager[Run]]
_ANSWER_SECONDS = 60.0


@pytest.fixture(scope="session")
def modules() -> Path:
    return Path(os.environ["DROVER_AGENTS"]) / "node_modules"


@pytest.fixture(scope="module")
def workers() -> int:
    return 2


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory, workers: int) -> Iterator[Fleet]:
    folder = tmp_path_factory.mktemp("fleet")
    path = folder / "script.json"
    path.write_text(json.dumps(script()))
    flags = {
        "--name": ",".join(MODELS),
        "--sim-script": path,
        "--context-length": CONTEXT_TOKENS,
        "--sim-prefill-tokens-per-second": 1e5,
    }
    worker_flags = [str(part) for flag in flags.items() for part in flag]
    with running_fleet(folder, workers=workers, worker_flags=worker_flags) as fleet:
        yield fleet


def by_name(agent: Agent) -> str:
    return agent.name


@pytest.fixture(params=AGENTS, ids=by_name)
def agent(request: pytest.FixtureRequest) -> Agent:
    chosen: Agent = request.param
    return chosen


@pytest.fixture
def start(fleet: Fleet, modules: Path, tmp_path: Path, request: pytest.FixtureRequest) -> Start:
    """An agent at work on a prompt, in a project with a file of notes."""

    @asynccontextmanager
    async def started(agent: Agent, prompt: str, model: str = "") -> AsyncIterator[Run]:
        project = tmp_path / "project"
        project.mkdir()
        (project / NOTES).write_text(f"{note(agent)}\n")
        address, name = fleet.frontends[0].address, model or agent.model
        async with running(agent, prompt, tmp_path, modules, address, name) as run:
            try:
                yield run
            finally:
                _keep(run, request.node.name)

    return started


def _keep(run: Run, name: str) -> None:
    if not (records := os.environ.get("AGENT_RECORDS")):
        return
    folder = Path(records) / name
    folder.mkdir(parents=True, exist_ok=True)
    for number, sent in enumerate(run.wire.sent):
        whole = {"path": sent.path, "headers": sent.headers, "body": sent.body and sent.json}
        (folder / f"{number:02}.json").write_text(json.dumps(whole, indent=1, default=bytes.decode))


async def has_answered(run: Run, text: str) -> None:
    """Wait until the text is on its way to the agent, or its run is over."""
    await until(lambda: text.encode() in run.wire.answered, _ANSWER_SECONDS, f"{run.agent.name} gets {text}")


async def finishes(run: Run, kind: str) -> None:
    """Wait until a slow task is over; it is done once and whole, in as many requests as without a fault."""
    status = await run.end()
    assert status == 0, run.output
    if kind == "slow answer":
        assert [word for word in run.stdout.split() if word in WORDS] == [*WORDS]
        assert run.requests == 1 + run.agent.side_requests
    else:
        assert (run.desk.project / OUT).read_text() == WRITTEN
        assert DONE in run.stdout, run.output
        assert run.requests == 2 + run.agent.side_requests
