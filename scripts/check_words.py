"""Find private words where engineers have a common one: `python -m scripts.check_words`.

Names count too: `last_word`, `LastWord` and "last word" are the same. `--counts` prints how often each word
occurs and never fails.
"""

from __future__ import annotations

import re
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent
_FOLDERS = (
    *("frontend/", "engine_worker/", "drover/", "protos/"),
    *("docs/", "deploy/", "scripts/", "tests/", "benchmarks/"),
)
_DOCUMENTS = ("README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "SECURITY.md")
_TEXTS = (".py", ".md", ".proto", ".yaml", ".yml", ".tpl", ".sh")
# Generated from what is checked, and the table below with its tests.
_OTHERS = (
    *("drover/v1/", "deploy/k8s/rendered/"),
    *("scripts/check_words.py", "tests/unit/scripts/test_check_words.py"),
)

WORDS: Mapping[str, str] = {
    "told": "sent, delivered, reported",
    "retold": "replayed",
    "heard": "delivered, received",
    "unheard": "undelivered",
    "unsaid": "undelivered",
    "nobody": "no client, no request",
    "whoever": "the caller, a client",
    "beside": "next to, with",
    "bell": "signal",
    "wish": "request, preference",
    "wishes": "requests, preferences",
    "leaf": "error type",
    "leaves of errors": "error types",
    "seam": "interface",
    "barks": "reports",
    "stuck": "stalled, not resumable",
    "dearest": "most expensive",
    "foresaw": "unhandled",
    "last word": "final message, done message",
    "in hand": "in flight",
    "way on": "resume strategy",
    "goes on": "resumes, continues, fails over",
    "found no more": "removed by discovery",
    "grace is over": "drain timeout reached",
}

EXCEPTIONS: Mapping[tuple[str, str], str] = {
    ("tests/unit/engine_worker/engines/simulator/test_text.py", "leaf"): "the simulator's vocabulary",
    ("benchmarks/llamacpp.py", "told"): "a prompt",
    **{
        ("engine_worker/engines/simulator/text.py", word): "its vocabulary"
        for word in ("bell", "beside", "leaf")
    },
}
"""Where a word is right: its reason, by the beginning of the path and the word."""

_PART = re.compile(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])|\d+")


class Found(NamedTuple):
    path: str
    line: int
    word: str

    def __str__(self) -> str:
        return f"{self.path}:{self.line}: {self.word!r} is a private word; write: {WORDS[self.word]}"


def find(path: str, text: str) -> Iterator[Found]:
    """Each banned word of a file. `path` is relative to the root."""
    for number, line in enumerate(text.splitlines(), start=1):
        spoken = f" {' '.join(_PART.findall(line)).lower()} "
        for word in WORDS:
            if f" {word} " in spoken and not _is_exception(path, word):
                yield Found(path, number, word)


def _is_exception(path: str, word: str) -> bool:
    return any(path.startswith(start) and word == other for start, other in EXCEPTIONS)


def _checked() -> Iterator[tuple[str, str]]:
    listed = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, check=True, capture_output=True, text=True
    ).stdout
    for name in filter(None, listed.split("\0")):
        path = ROOT / name
        is_ours = (name.startswith(_FOLDERS) and path.suffix in _TEXTS) or name in _DOCUMENTS
        if is_ours and not name.startswith(_OTHERS) and path.is_file():
            yield name, path.read_text()


def main(arguments: list[str]) -> int:
    found = [each for name, text in _checked() for each in find(name, text)]
    if "--counts" in arguments:
        for word, count in Counter(each.word for each in found).most_common():
            print(f"{count:5} {word}")
        return 0
    print(*found, sep="\n", end="\n" if found else "", file=sys.stderr)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
