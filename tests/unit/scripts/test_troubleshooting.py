"""The texts, settings and metrics that docs/troubleshooting.md quotes are those of the code."""

from __future__ import annotations

import ast
import functools
import re
from collections.abc import Iterator

import pytest

from engine_worker import metrics as worker_metrics
from engine_worker.host.settings import HostSettings
from engine_worker.settings import WorkerSettings
from frontend.observability import metrics as frontend_metrics
from frontend.settings import FrontendSettings
from tests.support.processes import ROOT

_PAGES = ("troubleshooting.md", "observe.md", "secure.md")
_ROWS = [
    line.strip("|").split(" | ")
    for line in (ROOT / "docs" / "troubleshooting.md").read_text().splitlines()
    if line.startswith("| ") and not line.startswith("| you see")
]
_SYMPTOMS = sorted(
    text
    for row in _ROWS
    for text in re.findall(r"`([^`]+)`", row[0])
    # Not names of headers, fields and variables, which are one word.
    if " " in text and not text.startswith("http")
)
# Flags of other programs, and of commands instead of the servers.
_FOREIGN = frozenset(
    {"--models", "--name", "--expires", "--role", "--weight", "--requests-per-minute", "--set"}
    | {"--namespace", "--reuse-values"}
)


def _literals() -> Iterator[str]:
    """All texts of the code, with … where a value is put in."""
    for folder in ("drover", "engine_worker", "frontend", "scripts"):
        for path in (ROOT / folder).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.Constant) and isinstance(node.value, str):
                    yield node.value
                elif isinstance(node, ast.JoinedStr):
                    yield "".join(
                        str(part.value) if isinstance(part, ast.Constant) else "…" for part in node.values
                    )


@functools.cache
def _all_texts() -> frozenset[str]:
    return frozenset(_literals())


def _is_in_code(symptom: str) -> bool:
    pieces = [piece.strip() for piece in symptom.split("…")]
    pattern = re.compile(".*".join(map(re.escape, pieces)), re.DOTALL)
    return any(pattern.search(literal) for literal in _all_texts())


def test_there_are_symptoms() -> None:
    assert len(_SYMPTOMS) > 25


@pytest.mark.parametrize("symptom", _SYMPTOMS)
def test_a_quoted_text_is_one_of_the_codes(symptom: str) -> None:
    assert _is_in_code(symptom)


def test_a_text_that_is_nowhere_is_found() -> None:
    assert not _is_in_code("the moon is not ready yet, " + "please try again")


@pytest.mark.parametrize("page", _PAGES)
def test_settings_are_those_of_the_tiers(page: str) -> None:
    text = (ROOT / "docs" / page).read_text()
    flags = set(re.findall(r"`(--[a-z][a-z-]+)", text)) - _FOREIGN
    fields = {*FrontendSettings.model_fields, *WorkerSettings.model_fields, *HostSettings.model_fields}
    known = {f"--{name.replace('_', '-')}" for name in fields}
    assert flags - known - {f"--no-{flag.removeprefix('--')}" for flag in known} == set()


@pytest.mark.parametrize("page", _PAGES)
def test_metrics_are_those_of_the_tiers(page: str) -> None:
    named = set(re.findall(r"drover_(?:frontend|worker)_[a-z_]+", (ROOT / "docs" / page).read_text()))
    specs = (*frontend_metrics.METRICS, *worker_metrics.METRICS)
    assert named - {spec.exposed_name for spec in specs} == set()
