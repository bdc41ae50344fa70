"""A request that no route sees."""

from __future__ import annotations


class RefusedRequest(Exception):
    """`status`: of the answer, `text`: its body."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status
        self.text = text
