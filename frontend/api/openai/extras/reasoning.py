"""How an answer shows the model's reasoning, where the request asks for another way than the usual one."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from drover.v1 import engine_pb2 as pb

_OPENING, _CLOSING = "<think>\n", "\n</think>\n\n"


@dataclass(frozen=True, slots=True)
class ReasoningStyle:
    """`is_shown`: it is part of the answer; `is_separate`: in a member of its own, else in the content;
    `is_streamed`: as it comes, else at its end; `has_both_names`: also as `reasoning_content`.
    """

    is_shown: bool = True
    is_separate: bool = True
    is_streamed: bool = True
    has_both_names: bool = False


class ReasoningView:
    """Rewrites the deltas of one choice as its style says."""

    def __init__(self, style: ReasoningStyle) -> None:
        self._style = style
        self._held: list[str] = []
        self._held_logprobs: list[pb.TokenLogprob] = []
        self._is_open = False

    def deltas(self, event: pb.GenerateEvent) -> Iterator[pb.Delta]:
        for delta in event.deltas:
            if delta.thinking:
                yield from self._thinking(delta)
            elif delta.content or delta.tool_calls:
                yield from self._ended()
                yield delta
            elif delta.logprobs:
                yield delta
        if event.HasField("done"):
            yield from self._ended()

    def _thinking(self, delta: pb.Delta) -> Iterator[pb.Delta]:
        if not self._style.is_shown:
            return
        if self._style.is_streamed:
            yield self._shown(delta)
        else:
            self._held.append(delta.thinking)
            self._held_logprobs += delta.logprobs

    def _ended(self) -> Iterator[pb.Delta]:
        """What is due when the reasoning has ended."""
        if self._held:
            joined = pb.Delta(thinking="".join(self._held), logprobs=self._held_logprobs)
            self._held, self._held_logprobs = [], []
            yield self._shown(joined)
        if self._is_open:
            self._is_open = False
            yield pb.Delta(content=_CLOSING)

    def _shown(self, delta: pb.Delta) -> pb.Delta:
        if self._style.is_separate:
            return delta
        opening = "" if self._is_open else _OPENING
        self._is_open = True
        return pb.Delta(content=opening + delta.thinking, logprobs=delta.logprobs)
