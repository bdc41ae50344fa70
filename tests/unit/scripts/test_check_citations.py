"""Citations that a reader of the repository cannot follow are found, and the others are left alone."""

from __future__ import annotations

import pytest

from scripts.check_citations import faults, with_folders

_DOCUMENTS = {
    "docs/reference/contract.md": "# Contract\n\n## Errors\n\n## Model names\n",
    "docs/api.md": "# What answers\n",
}


@pytest.mark.parametrize(
    "line",
    [
        "# In the order of contract.md, section 2.11.",
        "# Sections 3 and 4.",
        "# As in §4.",
        "# Issue 5: nothing is lost.",
        "# Of issue #5.",
        "# DESIGN decision 6.",
        "# See engine.md.",
        "# See reference/contract.md.",
        "# [the API](reference/api.md)",
        '# contract.md, "Errors" and "Model name".',
        '# (contract.md, "Error")',
    ],
)
def test_a_citation_that_leads_nowhere(line: str) -> None:
    assert [fault.partition(": ")[0] for fault in faults("drover/names.py", f"ok\n{line}\n", _DOCUMENTS)] == [
        "drover/names.py:2"
    ]


@pytest.mark.parametrize(
    "line",
    [
        '# contract.md, "Errors" and "Model names".',
        "# [the API](../docs/api.md), docs/api.md, docs/reference/contract.md",
        "# sgl-project/sglang#123, https://example.com/guide.md, app://notes.md, *.md",
        "# This section, an issue of ours, a design.",
    ],
)
def test_a_citation_that_can_be_followed(line: str) -> None:
    assert list(faults("drover/names.py", line, _DOCUMENTS)) == []


_PATHS = with_folders(["frontend/api/response.py", "drover/v1/engine_pb2.py"])


@pytest.mark.parametrize(
    "line",
    [
        "`frontend/api/answer.py` owns it.",
        "participant F as frontend/api/answer.py",
        "[code](frontend/routing)",
        "In `frontend/apis/`.",
        "frontend/api/response.pyi",
    ],
)
def test_a_path_that_is_not_there(line: str) -> None:
    assert len(list(faults("docs/api.md", line, {}, _PATHS))) == 1
    assert list(faults("drover/names.py", line, {}, _PATHS)) == []


@pytest.mark.parametrize(
    "line",
    [
        "`frontend/api/response.py`, `frontend/api/`, frontend/api and drover/v1/engine_pb2.py.",
        "`frontend/routing/policies/NAME.py` is yours.",
        "`drover/v1/*.pyi`, https://example.com/docs/no.html, ~/drover/cache, drover/presets.sqlite3",
        "`api/response.py`, as well as a.b/drover/none",
    ],
)
def test_a_path_that_is_there_or_is_none(line: str) -> None:
    assert list(faults("docs/api.md", line, {}, _PATHS)) == []
