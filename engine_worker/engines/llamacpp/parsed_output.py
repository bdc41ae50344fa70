"""Reads /completion's chunks of text in which a parser of Drover's finds thinking and tool calls."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import cast

from drover.v1 import engine_pb2 as pb
from engine_worker.engines.llamacpp.api import JsonObject
from engine_worker.engines.llamacpp.plain_output import DetokenizeIds, PlainOutput, TokenizeText
from engine_worker.engines.llamacpp.vocabulary import Vocabulary
from engine_worker.output.base import CallPart, Content, OutputParser, Piece, Thinking
from engine_worker.output.mailbox import Mailbox
from engine_worker.output.stop_matcher import StopMatcher


class ParsedOutput(PlainOutput):
    """Stop texts are matched in thinking and in content, not in calls; `stop_tokens` anywhere. A match ends
    the answer while llama.cpp still generates.
    """

    def __init__(
        self,
        mailbox: Mailbox,
        started: pb.Started,
        top: int | None,
        vocabulary: Vocabulary,
        tokenize: TokenizeText,
        detokenize: DetokenizeIds,
        parser: OutputParser,
        stops: Sequence[str],
        stop_tokens: Collection[int] = (),
    ) -> None:
        super().__init__(mailbox, started, top, vocabulary, tokenize, detokenize)
        self._parser = parser
        self._stops = StopMatcher(stops)
        self._stop_tokens = frozenset(stop_tokens)
        self._matched_token: int | None = None
        self._kind: type[Content] | type[Thinking] = Content
        self._ids: list[int] = []
        self._piece_logprobs: list[pb.TokenLogprob] = []
        self._reasoning_tokens = 0

    async def feed(self, chunk: JsonObject, queue_ns: int) -> None:
        if self.finished:
            return
        await super().feed(chunk, queue_ns)
        is_matched = self._stops.matched is not None or self._matched_token is not None
        if is_matched and not self.finished:
            await self._finish({**chunk, "stop_type": "word", "stopping_word": ""}, queue_ns)
            self.is_idle = False

    async def _delta(self, chunk: JsonObject) -> None:
        ids = cast("list[int]", chunk["tokens"])
        if self._stop_tokens and ids and ids[-1] in self._stop_tokens:
            self._matched_token = ids[-1]
            produced = cast(int, chunk["tokens_predicted"])
            missing, self.produced = produced - self.produced - len(ids), produced
            if missing > 0:
                ids, _ = await self._recover(str(chunk["content"]), ids, missing)
            self._pending_ids.extend(ids[:-1])
            return
        await super()._delta(chunk)

    def _emit(self, text: str, produced: int) -> None:
        self._sent.append(text)
        self.all_ids.extend(self._pending_ids)
        self._ids.extend(self._pending_ids)
        self._piece_logprobs.extend(self._pending_logprobs)
        self._pending_ids, self._pending_logprobs = [], []
        pieces = self._parser.feed(text)
        if not pieces and not self._parser.holds:
            # The tokens were markup, whose log probabilities are not shown.
            self._piece_logprobs.clear()
        self._show(pieces)
        if self._ids:
            self._mailbox.content("", self._take_ids(), self.produced)

    def _show(self, pieces: Sequence[Piece]) -> None:
        for piece in pieces:
            if self._stops.matched is not None:
                return
            if isinstance(piece, CallPart):
                self._show_held_back()
                self._mailbox.tool_call(
                    _tool_call_delta(piece), self._take_ids(), self.produced, self._take_logprobs()
                )
                continue
            if not isinstance(piece, self._kind):
                self._show_held_back()
                self._kind = type(piece)
            if self._kind is Thinking:
                self._reasoning_tokens += len(self._ids)
            self._text(self._stops.feed(piece.text))

    def _show_held_back(self) -> None:
        self._text(self._stops.flush())

    def _text(self, text: str) -> None:
        if not text:
            return
        put = self._mailbox.thinking if self._kind is Thinking else self._mailbox.content
        put(text, self._take_ids(), self.produced, self._take_logprobs())

    def _take_ids(self) -> list[int]:
        ids, self._ids = self._ids, []
        return ids

    def _take_logprobs(self) -> list[pb.TokenLogprob]:
        logprobs, self._piece_logprobs = self._piece_logprobs, []
        return logprobs

    def _complete(self, done: pb.Done) -> None:
        if self._stops.matched is None:
            self._show(self._parser.finish())
            self._show_held_back()
        if self._ids or self._piece_logprobs:
            self._mailbox.content("", self._take_ids(), self.produced, self._take_logprobs())
        if self._stops.matched is not None:
            done.matched_stop = self._stops.matched
        elif self._matched_token is not None:
            done.matched_token = self._matched_token
        done.reasoning_tokens = self._reasoning_tokens


def _tool_call_delta(part: CallPart) -> pb.ToolCallDelta:
    return pb.ToolCallDelta(
        index=part.index,
        id=part.id,
        name=part.name,
        arguments_fragment=part.arguments,
        complete=part.complete,
    )
