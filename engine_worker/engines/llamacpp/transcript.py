"""What a parsed answer looked like before it was parsed."""

from __future__ import annotations

from engine_worker.engines.llamacpp.template import ChatTemplate
from engine_worker.output.base import CallPart, Content, Piece, Thinking


class Transcript:
    """`is_only_content`: it is what the model wrote, without any markup."""

    def __init__(self, template: ChatTemplate) -> None:
        self._template = template
        self._parts: list[str] = []
        self._thinks = False
        self.is_only_content = True

    def add(self, piece: Piece) -> None:
        thinks = isinstance(piece, Thinking)
        self.is_only_content = self.is_only_content and isinstance(piece, Content)
        if thinks != self._thinks:
            self._thinks = thinks
            self._parts.append(self._template.before_thinking if thinks else self._template.after_thinking)
        self._parts.append(piece.arguments if isinstance(piece, CallPart) else piece.text)

    @property
    def text(self) -> str:
        return "".join(self._parts)
