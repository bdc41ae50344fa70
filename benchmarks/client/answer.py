"""Checks and counts one streamed response at the client."""

from __future__ import annotations

from benchmarks.client.dialects import Dialect, Refused
from benchmarks.client.histogram import Histogram
from benchmarks.client.numbered import Order, OutOfOrder


class Answer:
    """Checks the lines of a body as its chunks come, and counts.

    `lines` are those with text, `messages` the HTTP chunks that had at least one of them; `tokens`: of a
    numbered answer its tokens, else its lines; `said_tokens`: the server's own count. `problem`: why the
    answer is none. With `order` its text must be numbered tokens.
    """

    __slots__ = (
        "_dialect",
        "_gaps",
        "_last_at",
        "_order",
        "_rest",
        "first_at",
        "is_over",
        "lines",
        "messages",
        "problem",
        "said_tokens",
        "tokens",
    )

    def __init__(self, dialect: Dialect, gaps: Histogram, order: Order | None) -> None:
        self._dialect = dialect
        self._gaps = gaps
        self._order = order
        self._rest = b""
        self._last_at = 0.0
        self.first_at = 0.0
        self.is_over = False
        self.lines = 0
        self.messages = 0
        self.tokens = 0
        self.said_tokens = 0
        self.problem = ""

    def read(self, body: bytes, at: float) -> bool:
        """Part of the body that came at that time; whether a line with text ended in it."""
        *lines, self._rest = (self._rest + body if self._rest else body).split(b"\n")
        before = self.lines
        try:
            for line in lines:
                if line:
                    self._read_line(line, at)
        except (Refused, OutOfOrder) as error:
            self._break(str(error) or type(error).__name__)
        except (ValueError, TypeError, LookupError) as error:
            self._break(f"{line[:200]!r} cannot be read: {error!r}")
        return self.lines > before

    def end(self) -> None:
        """End of the body. A response without its last line is a problem."""
        if not self.is_over or self._rest:
            self._break("the answer ended in its middle")

    def _read_line(self, raw: bytes, at: float) -> None:
        if self.is_over:
            raise ValueError("a line after the last one")
        line = self._dialect.read(raw)
        self.said_tokens = line.tokens or self.said_tokens
        self.is_over = line.last
        if line.text:
            if self.lines:
                self._gaps.add(at - self._last_at)
            else:
                self.first_at = at
            self._last_at = at
            self.lines += 1
            self.tokens += self._order.accept(line.text) if self._order is not None else 1

    def _break(self, problem: str) -> None:
        self.problem = self.problem or problem
