"""Every request on which this server once differed from a real Ollama, sent again in the recorded order."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack

import httpx
import pytest

from tests.contract.conftest import PARAMETERS, TEMPLATE
from tests.contract.differing import Row, ask, differences, rows
from tests.contract.differing_tables import DELIBERATE, NOT_REPLAYED, PENDING
from tests.contract.fleet import WORDS
from tests.support.processes import frontend, worker
from tests.support.scripted_gguf import THINKING_AND_TOOLS, write_scripted_gguf

_JOINED_SECONDS = 60.0
_MODELS = 3


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """SmolLM2 as `smol` and, embedding, as `vec`, and the small GGUF that thinks and calls as `think`."""
    folder = tmp_path_factory.mktemp("differing")
    (folder / "smol.gotmpl").write_text(TEMPLATE)
    write_scripted_gguf(folder / "think.gguf", THINKING_AND_TOOLS, *WORDS)
    length = "--context-length=2048"
    smol = (f"--chat-template={folder / 'smol.gotmpl'}", f"--parameters={json.dumps(PARAMETERS)}")
    think = ("--engine=llamacpp", f"--model={folder / 'think.gguf'}", "--slots=2")
    with ExitStack() as processes:
        begin = processes.enter_context
        workers = [
            begin(worker(folder / "smol.log", "--name=smol:latest", length, *smol)),
            begin(worker(folder / "vec.log", "--name=vec", "--task=embed", length)),
            begin(worker(folder / "think.log", "--name=think", *think)),
        ]
        front = begin(frontend(folder / "frontend.log", [each.address for each in workers]))
        deadline = time.monotonic() + _JOINED_SECONDS
        while len(httpx.get(f"http://{front.address}/api/tags").json()["models"]) < _MODELS:
            assert time.monotonic() < deadline, "not all workers have joined"
            time.sleep(0.05)
        yield front.address


@pytest.fixture(scope="module")
def found(address: str) -> Mapping[int, list[str]]:
    """What differs, by number."""
    return {row.number: _replayed(address, row) for row in rows() if row.number not in NOT_REPLAYED}


def _replayed(address: str, row: Row) -> list[str]:
    for request in row.before:
        ask(address, request)
    return differences(row, ask(address, row.request))


@pytest.mark.parametrize("row", [row for row in rows() if row.number not in NOT_REPLAYED], ids=str)
def test_the_answer_is_ollamas(row: Row, found: Mapping[int, list[str]]) -> None:
    if row.number in DELIBERATE or row.number in PENDING:
        assert found[row.number], "it does not differ any more: remove it from differing_tables.py"
    else:
        assert found[row.number] == []


def test_capabilities_of_a_gguf(address: str) -> None:
    """In the order in which `ollama show` prints them."""
    shown = httpx.post(f"http://{address}/api/show", json={"model": "think"}).json()
    assert shown["capabilities"] == ["tools", "thinking", "completion"]


def test_each_row_has_one_place() -> None:
    numbers = {row.number for row in rows()}
    listed = [*DELIBERATE, *PENDING, *NOT_REPLAYED]
    assert len(numbers) == 246
    assert len(set(listed)) == len(listed)
    assert set(listed) <= numbers
    asked_by_nobody = {row.number for row in rows() if row.is_of_the_cli or row.is_cut}
    assert asked_by_nobody <= set(NOT_REPLAYED)
