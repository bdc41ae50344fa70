"""What a parsed answer looked like before it was parsed."""

from __future__ import annotations

from engine_worker.chat.base import CallPart, Piece, Thinking
from engine_worker.engines.llamacpp.template import ChatTemplate


class Transcript:
    def __init__(self, template: ChatTemplate) -> None:
        self._template = template
        self._parts: list[str] = []
        self._thinks = False

    def add(self, piece: Piece) -> None:
        thinks = isinstance(piece, Thinking)
        if thinks != self._thinks:
            self._thinks = thinks
            self._parts.append(self._template.before_thinking if thinks else self._template.after_thinking)
        self._parts.append(piece.arguments if isinstance(piece, CallPart) else piece.text)

    @property
    def text(self) -> str:
        return "".join(self._parts)
