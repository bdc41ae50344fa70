"""Reads pip's output and says how far it is: `pip install … | python -m scripts.pip_progress TOTAL`.

One line that is rewritten on a terminal, one line in a while elsewhere. What pip complains about is passed
on.
"""

from __future__ import annotations

import sys
import time

_ENDS = "Installing collected packages"
_LINE_SECONDS = 15.0
_WIDTH = 78


class Progress:
    def __init__(self, total: int, is_terminal: bool) -> None:
        self._total = total
        self._is_terminal = is_terminal
        self._count = 0
        self._said_at = 0.0
        self._began = time.monotonic()

    def saw(self, line: str) -> None:
        if line.startswith("Collecting "):
            self._count += 1
            self._say(f"{self._count} of {self._total} packages: {line.split()[1].split('==')[0]}")
        elif line.startswith(_ENDS):
            self._say("unpacking: this takes a few minutes", at_once=True)
        elif line.lower().startswith("error"):
            sys.stdout.write(f"\n{line}")

    def end(self) -> None:
        seconds = time.monotonic() - self._began
        self._say(f"installed in {seconds:.0f} s", at_once=True)
        if self._is_terminal:
            sys.stdout.write("\n")

    def _say(self, text: str, at_once: bool = False) -> None:
        now = time.monotonic()
        if self._is_terminal:
            sys.stdout.write(f"\r  {text[:_WIDTH]:<{_WIDTH}}")
        elif at_once or now - self._said_at >= _LINE_SECONDS:
            self._said_at = now
            sys.stdout.write(f"  {text}\n")
        sys.stdout.flush()


def main() -> int:
    progress = Progress(int(sys.argv[1]), sys.stdout.isatty())
    for line in sys.stdin:
        progress.saw(line)
    progress.end()
    return 0


if __name__ == "__main__":
    sys.exit(main())
