"""Citations that a reader of the repository cannot follow are found, and the others are left alone."""

from __future__ import annotations

import pytest

from scripts.check_citations import faults

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
