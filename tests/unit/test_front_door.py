"""Files for contributors name what is there, and run what CI runs."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from tests.support.processes import ROOT

_RECORDS = sorted((ROOT / "docs/adr").glob("[0-9]*.md"))
_PAGES = (
    *("ARCHITECTURE.md", "CONTRIBUTING.md", "SECURITY.md", "CODE_OF_CONDUCT.md", "CHANGELOG.md", "README.md"),
    *sorted(str(page.relative_to(ROOT)) for page in (ROOT / "docs").glob("*.md")),
)
_FOLDERS = ("drover", "engine_worker", "findings", "frontend", "scripts", "tests")
# A path within the repository, in backquotes.
_PATH = re.compile(r"`([a-z_]+/[\w./-]+)`")


def _ci_steps() -> list[str]:
    stages = re.search(r"^stages=\((.+)\)$", (ROOT / ".ci/run").read_text(), re.MULTILINE)
    assert stages
    return re.findall(r"[\w-]+", stages[1])


def test_the_workflow_runs_every_step_of_ci() -> None:
    workflow = yaml.safe_load((ROOT / ".github/workflows/ci.yml").read_text())
    job = workflow["jobs"]["step"]
    assert job["strategy"]["matrix"]["step"] == _ci_steps()
    assert job["steps"][-1]["run"] == ".ci/run ${{ matrix.step }}"


def test_every_step_of_ci_is_a_task_of_the_makefile() -> None:
    tasks = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert set(_ci_steps()) <= tasks


def test_pre_commit_runs_the_ruff_of_the_lock() -> None:
    hooks = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"][0]["hooks"]
    named = {package for hook in hooks for package in hook.get("additional_dependencies", ())}
    locked = re.search(r"^ruff==[\w.]+", (ROOT / "requirements/dev.txt").read_text(), re.MULTILINE)
    assert locked
    assert {package for package in named if package.startswith("ruff")} == {locked[0]}


@pytest.mark.parametrize("page", ["ARCHITECTURE.md", "CONTRIBUTING.md", "SECURITY.md"])
def test_files_that_are_named_exist(page: str) -> None:
    named = [path for path in _PATH.findall((ROOT / page).read_text()) if "NAME" not in path]
    assert page == "SECURITY.md" or len(named) > 20
    assert [path for path in named if not (ROOT / path).exists()] == []


@pytest.mark.parametrize("page", _PAGES)
def test_pages_that_are_linked_exist(page: str) -> None:
    linked = re.findall(r"\]\(([^)#]+)[^)]*\)", (ROOT / page).read_text())
    local = [link for link in linked if "://" not in link]
    assert [link for link in local if not (ROOT / page).parent.joinpath(Path(link)).exists()] == []


@pytest.mark.parametrize("record", _RECORDS, ids=lambda record: record.name[:4])
def test_a_decision_has_its_form_and_names_files_that_exist(record: Path) -> None:
    text = record.read_text()
    number = int(record.name[:4])
    assert re.match(rf"# {number}\. \S.*\n\n- Date: \d{{4}}-\d\d-\d\d", text)
    assert re.search(r"^- Status: (proposed|accepted|superseded by )", text, re.MULTILINE)
    assert re.findall(r"^## (.+)$", text, re.MULTILINE) == ["Context", "Decision", "Consequences"]
    paths = [path for path in _PATH.findall(text) if path.split("/")[0] in _FOLDERS]
    linked = [link for link in re.findall(r"\]\(([^)#]+)", text) if "://" not in link]
    assert [path for path in paths if not (ROOT / path).exists()] == []
    assert [link for link in linked if not (record.parent / link).exists()] == []


def test_the_index_of_decisions_is_complete() -> None:
    index = (ROOT / "docs/adr/README.md").read_text()
    rows = re.findall(r"^\| \[(\d{4})\]\((.+?)\) \| (.+) \| [\d-]+ \|$", index, re.MULTILINE)
    titles = [record.read_text().splitlines()[0].split(". ", 1)[1] for record in _RECORDS]
    assert rows == [
        (record.name[:4], record.name, title) for record, title in zip(_RECORDS, titles, strict=True)
    ]
    assert [int(number) for number, _, _ in rows] == list(range(1, len(rows) + 1))


def test_decisions_that_code_cites_exist() -> None:
    numbers = {record.name[:4] for record in _RECORDS}
    files = [path for folder in _FOLDERS for path in (ROOT / folder).rglob("*.py")]
    cited = {number for path in files for number in re.findall(r"docs/adr/(\d{4})", path.read_text())}
    assert cited
    assert cited <= numbers


def _logged_texts() -> Iterator[str]:
    """Every text in the code, those of f-strings in their pieces."""
    for folder in ("drover", "engine_worker", "frontend"):
        for path in (ROOT / folder).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.Constant) and isinstance(node.value, str):
                    yield node.value


def test_the_texts_of_the_troubleshooting_page_are_those_of_the_code() -> None:
    rows = re.findall(r"^\| (.+?) \|", (ROOT / "docs/troubleshooting.md").read_text(), re.MULTILINE)
    quoted = [text for row in rows for text in re.findall(r"`([^`]+)`", row) if " " in text]
    pieces = {piece.strip() for text in quoted for piece in re.split("…|--model", text) if piece.strip(" :")}
    assert len(pieces) > 20
    texts = list(_logged_texts())
    assert [piece for piece in pieces if not any(piece in text for text in texts)] == []


def test_the_glossary_is_short_and_each_term_stands_once() -> None:
    glossary = (ROOT / "ARCHITECTURE.md").read_text().split("## Glossary")[1]
    terms = re.findall(r"^\| ([\w -]+?) \| ", glossary, re.MULTILINE)[1:]
    assert 15 <= len(terms) <= 25
    assert len(set(terms)) == len(terms)
    assert terms == sorted(terms)


def test_packages_that_list_their_modules_list_all() -> None:
    lists = {}
    for init in (
        path
        for tier in ("frontend", "engine_worker", "drover")
        for path in ROOT.glob(f"{tier}/**/__init__.py")
    ):
        listed = set(re.findall(r"\b(\w+\.py)\b", ast.get_docstring(ast.parse(init.read_text())) or ""))
        modules = {path.name for path in init.parent.glob("*.py")} - {"__init__.py"}
        if len(listed & modules) > 2:
            lists[init.parent.name] = listed ^ modules
    assert len(lists) >= 8
    assert [name for name, others in lists.items() if others] == []


def test_the_documentation_index_names_every_page() -> None:
    index = (ROOT / "docs/README.md").read_text()
    pages = {page.name for page in (ROOT / "docs").glob("*.md")} - {"README.md"}
    assert pages - set(re.findall(r"\]\(([\w/.-]+)\)", index)) == set()


def test_the_readme_is_read_in_five_minutes() -> None:
    assert len((ROOT / "README.md").read_text().splitlines()) <= 120
