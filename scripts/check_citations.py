"""Find citations of what is not in the repository: `python -m scripts.check_citations`.

A comment may cite a document here, with a heading of it (`ollama-contract.md, "Errors"`), or a public issue
with its repository (`owner/name#123`). Section and issue numbers without a document lead a reader nowhere.
A document may name files and folders here by their path from the root (`frontend/app.py`).
"""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Collection, Iterable, Iterator, Mapping
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
_TEXTS = (".py", ".md", ".proto", ".toml", ".yaml", ".yml", ".tpl", ".sh", ".in", ".mjs", ".go", ".jinja")
_NAMES = ("Makefile", "Dockerfile", "run")
# Made by other programs, history that names what is gone, and this check's own examples.
_OTHERS = (
    "requirements/",
    "CHANGELOG.md",
    "scripts/check_citations.py",
    "tests/unit/scripts/test_check_citations.py",
)
_NUMBERS = (
    (re.compile(r"\b[Ss]ections? \d|§ ?\d"), "cites a section by number; name the document and its heading"),
    (re.compile(r"\b[Ii]ssues? #?\d"), "cites an issue without its repository; state the fact instead"),
    (re.compile(r"\bDESIGN\b"), "cites a design document that is not in the repository"),
)
# What a URL, a glob or a pattern has before the name is none of ours.
_DOCUMENT = re.compile(r"(?<![\w./:*}{-])((?:\.\./)*[\w-][\w./-]*\.md)\b")
# A path from the root, as documents name files and folders. Capitals in it stand for a name of the reader's.
_PATH = re.compile(
    r"(?<![\w./:*}{~$-])((?:frontend|engine_worker|drover|protos|tests|docs|deploy|scripts|benchmarks|findings|"
    r"requirements)/[\w./-]*\w/?)(?![\w*{<-])"
)
# Documents are checked as such; a database is made by the first start.
_NOT_OURS = (".md", ".sqlite3")
_PLACEHOLDER = re.compile(r"\b[A-Z]{3,}\b")
_HEADING = re.compile(r'([\w-]+\.md), +"([^"\n]+)"(?: +and +"([^"\n]+)")?')


def faults(name: str, text: str, documents: Mapping[str, str], paths: Collection[str] = ()) -> Iterator[str]:
    """Yield `name:line: what is wrong`. `documents`: the text of each Markdown file, by its path from the
    root; `paths`: all files and folders.
    """
    for number, line in enumerate(text.splitlines(), start=1):
        for fault in _of_line(name, line, documents):
            yield f"{name}:{number}: {fault}"
        for path in _missing_paths(name, line, paths):
            yield f"{name}:{number}: {path!r} is not in the repository"


def _missing_paths(name: str, line: str, paths: Collection[str]) -> Iterator[str]:
    if not name.endswith(".md"):
        return
    for found in _PATH.finditer(line):
        path = found[1].rstrip("/")
        if path not in paths and not path.endswith(_NOT_OURS) and not _PLACEHOLDER.search(path):
            yield path


def with_folders(files: Iterable[str]) -> set[str]:
    """Return the files and all the folders that they are in."""
    return {path for file in files for path in (file, *map(str, Path(file).parents))}


def _of_line(name: str, line: str, documents: Mapping[str, str]) -> Iterator[str]:
    for pattern, fault in _NUMBERS:
        if found := pattern.search(line):
            yield f"{found[0]!r} {fault}"
    for found in _DOCUMENT.finditer(line):
        if not _is_there(found[1], Path(name).parent, documents):
            yield f"{found[1]!r} is not in the repository"
    for document, *headings in _HEADING.findall(line):
        texts = [text for path, text in documents.items() if Path(path).name == document]
        for heading in filter(None, headings):
            if texts and not any(_has_heading(text, heading) for text in texts):
                yield f"{document} has no heading {heading!r}"


def _is_there(cited: str, folder: Path, documents: Mapping[str, str]) -> bool:
    if "/" not in cited:
        return any(Path(path).name == cited for path in documents)
    relative = Path("/", folder, cited).resolve().relative_to("/")
    return cited in documents or str(relative) in documents


def _has_heading(text: str, heading: str) -> bool:
    return re.search(rf"^#+ {re.escape(heading)}$", text, re.MULTILINE) is not None


def _files() -> list[str]:
    listed = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, check=True, capture_output=True, text=True
    ).stdout
    return [name for name in listed.split("\0") if name]


def _texts(files: Iterable[str]) -> dict[str, str]:
    paths = [ROOT / name for name in files]
    checked = [path for path in paths if path.suffix in _TEXTS or path.name.startswith(_NAMES)]
    return {str(path.relative_to(ROOT)): path.read_text() for path in checked if path.is_file()}


def main() -> int:
    files = _files()
    texts, paths = _texts(files), with_folders(files)
    documents = {name: text for name, text in texts.items() if name.endswith(".md")}
    checked = {name: text for name, text in texts.items() if not name.startswith(_OTHERS)}
    found = [fault for name, text in checked.items() for fault in faults(name, text, documents, paths)]
    print(*found, sep="\n", end="\n" if found else "", file=sys.stderr)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
