"""The README's commands work."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator

import pytest

from tests.support.processes import ROOT, Stack, stack

pytestmark = pytest.mark.real_model
README = (ROOT / "README.md").read_text()
ADDRESS = "http://127.0.0.1:11434"


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    with stack(tmp_path_factory.mktemp("readme")) as running:
        yield running


def _block(language: str, beginning: str) -> str:
    blocks = re.findall(r"```(\w*)\n(.*?)```", README, re.DOTALL)
    found = [block for kind, block in blocks if kind == language and block.startswith(beginning)]
    assert len(found) == 1, f"one block that begins with {beginning!r}"
    return str(found[0])


def _output(command: list[str]) -> str:
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=True).stdout


def test_the_python_example_answers_paris(served: Stack) -> None:
    code = _block("python", "import ollama").replace(ADDRESS, served.url)
    assert _output([sys.executable, "-c", code]) == "The capital of France is Paris."


def test_the_curl_example_streams_the_answer(served: Stack) -> None:
    command = shlex.split(_block("", "curl").replace(ADDRESS, served.url))
    lines = _output([*command, "--silent"]).splitlines()
    assert len(lines) == 8
    first, second, _, last = _block("json", '{"model"').splitlines()
    assert [*map(_without_times, (first, second, last))] == [*map(_without_times, (*lines[:2], lines[-1]))]


def _without_times(line: str) -> dict[str, object]:
    answer: dict[str, object] = json.loads(line)
    assert answer["created_at"]
    times = {
        "created_at", "total_duration", "load_duration", "prompt_eval_cached_count", "prompt_eval_duration",
        "eval_duration",
    }  # fmt: skip
    assert answer.keys() & times in ({"created_at"}, times)
    return {name: value for name, value in answer.items() if name not in times}


def test_every_task_of_the_makefile_that_is_named_exists() -> None:
    pages = [README, *(page.read_text() for page in (ROOT / "docs").glob("*.md"))]
    tasks = {task for page in pages for task in re.findall(r"`make ([a-z-]+)", page)}
    known = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert tasks
    assert tasks <= known


def test_every_page_that_is_linked_exists() -> None:
    linked = [link for link in re.findall(r"\]\(([^)#]+)\)", README) if "://" not in link]
    assert len(linked) > 5
    assert all((ROOT / page).exists() for page in linked)
