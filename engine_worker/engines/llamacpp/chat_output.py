"""From llama-server's chat chunks, which its own parsers have made, to events.

llama-server (b11549) keeps the token ids of such answers to itself: `return_tokens` does nothing here, and
probabilities, which bring ids along, cost half a millisecond for each token and leave out all tokens that
show nothing. So the ids are found again by tokenising the answer when it is over, with the markup that the
template puts around thinking; they come with its last delta. Of tool calls only the arguments are known, not
the markup.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import cast

from drover.v1 import engine_pb2 as pb
from engine_worker.engines.llamacpp.api import Json
from engine_worker.engines.llamacpp.chunks import finish_reason, lead_of, timings_of, token_logprob
from engine_worker.engines.llamacpp.tool_calls import ToolCallDeltas
from engine_worker.engines.llamacpp.transcript import Transcript
from engine_worker.output.base import CallPart, Content, Piece, Thinking
from engine_worker.output.mailbox import Mailbox
from engine_worker.output.stop_matcher import StopMatcher

_log = logging.getLogger("drover.worker")


class ChatOutput:
    """A ChunkReader. Stop texts are looked for in thinking and in content, not in tool calls; one that is
    found ends the answer while llama.cpp would go on.
    """

    def __init__(
        self,
        mailbox: Mailbox,
        started: pb.Started,
        top: int | None,
        stops: Sequence[str],
        shows_thinking: bool,
        transcript: Transcript,
        tokenize: Callable[[str, int], Awaitable[list[int]]],
    ) -> None:
        self._mailbox = mailbox
        self._started: pb.Started | None = started
        self._prompt_tokens = len(started.prompt_ids)
        self._top = top
        self._stops = StopMatcher(stops)
        self._shows_thinking = shows_thinking
        self._transcript = transcript
        self._tokenize = tokenize
        self._calls = ToolCallDeltas()
        self._kind: type[Content] | type[Thinking] = Content
        self._logprobs: list[pb.TokenLogprob] = []
        self._timings: Mapping[str, float] = {}
        self._reasoning_tokens = 0
        # Tokens behind the pieces so far; those of markup count with the piece that follows.
        self._accounted = 0
        self.produced = 0
        self.finished = self.is_idle = False
        self.all_ids: list[int] = list(started.prompt_ids)

    async def feed(self, chunk: Json, queue_ns: int) -> None:
        if "prompt_progress" in chunk or self.finished:
            return
        if self._started is not None:
            self._mailbox.started(self._started)
            self._started = None
        (choice,) = cast("list[Json]", chunk["choices"])
        if "timings" in chunk:
            self._timings = cast("dict[str, float]", chunk["timings"])
            self.produced = int(self._timings["predicted_n"])
        pieces = self._pieces(cast(Json, choice["delta"]))
        for at, piece in enumerate(pieces, start=1):
            self._take(piece, self._logprobs_of(choice) if at == len(pieces) else [])
            if self._stops.matched is not None:
                await self._end(
                    pb.Done(finish_reason=pb.Done.STOP, matched_stop=self._stops.matched), queue_ns
                )
                return
        if choice["finish_reason"] is not None:
            self.is_idle = True
            verbose = cast(Json, chunk["__verbose"])
            await self._end(self._last_word(verbose), queue_ns)
            self._warn_of_lost_text(str(verbose["stop_type"]))

    def _pieces(self, delta: Json) -> list[Piece]:
        pieces: list[Piece] = []
        if reasoning := delta.get("reasoning_content"):
            pieces.append(Thinking(str(reasoning)))
        if content := delta.get("content"):
            pieces.append(Content(str(content)))
        calls = cast("list[Json]", delta.get("tool_calls") or [])
        return pieces + [self._calls.feed(call) for call in calls]

    def _take(self, piece: Piece, logprobs: Sequence[pb.TokenLogprob] = ()) -> None:
        """`logprobs`: those of its tokens. Of markup nothing is told, so a chunk without a piece has none."""
        self._transcript.add(piece)
        if isinstance(piece, Thinking):
            self._reasoning_tokens += self.produced - self._accounted
        self._accounted = self.produced
        if isinstance(piece, CallPart):
            self._show_held_back()
            self._logprobs.extend(logprobs)
            self._call(piece)
            return
        if not isinstance(piece, self._kind):
            self._show_held_back()
            self._kind = type(piece)
        if not self._hides(self._kind):
            self._logprobs.extend(logprobs)
        self._text(self._stops.feed(piece.text))

    def _show_held_back(self) -> None:
        self._text(self._stops.flush())

    def _text(self, text: str) -> None:
        if not text or self._hides(self._kind):
            return
        put = self._mailbox.thinking if self._kind is Thinking else self._mailbox.content
        put(text, (), self.produced, self._new_logprobs())

    def _hides(self, kind: type[Content] | type[Thinking]) -> bool:
        return kind is Thinking and not self._shows_thinking

    def _call(self, part: CallPart) -> None:
        call = pb.ToolCallDelta(
            index=part.index,
            id=part.id,
            name=part.name,
            arguments_fragment=part.arguments,
            complete=part.complete,
        )
        self._mailbox.tool_call(call, (), self.produced, self._new_logprobs())

    def _logprobs_of(self, choice: Json) -> list[pb.TokenLogprob]:
        """Of tokens without text of their own llama-server says nothing."""
        logprobs = cast("dict[str, list[Json]] | None", choice.get("logprobs"))
        if self._top is None or logprobs is None:
            return []
        return [token_logprob(entry, self._top, lead_of(entry)) for entry in logprobs["content"]]

    def _new_logprobs(self) -> list[pb.TokenLogprob]:
        new, self._logprobs = self._logprobs, []
        return new

    def _last_word(self, verbose: Json) -> pb.Done:
        stop_type = str(verbose["stop_type"])
        done = pb.Done(finish_reason=finish_reason(stop_type))
        if stop_type == "word":
            # One of the template's own.
            done.matched_stop = str(verbose["stopping_word"])
        if done.finish_reason == pb.Done.STOP:
            for part in self._calls.finish():
                self._take(part)
        return done

    def _warn_of_lost_text(self, stop_type: str) -> None:
        """llama.cpp's parsers keep a tail that looks like the beginning of markup, `Hello <`, for good."""
        if not self._transcript.is_only_content or stop_type == "word":
            return
        lost = self._prompt_tokens + self.produced - len(self.all_ids) - (stop_type == "eos")
        if lost > 0:
            _log.warning("llama.cpp's parser kept the last %d tokens of an answer to itself", lost)

    async def _end(self, done: pb.Done, queue_ns: int) -> None:
        self._show_held_back()
        ids = await self._tokenize(self._transcript.text, self.produced) if self._transcript.text else []
        if ids or self._logprobs:
            self._mailbox.content("", ids, self.produced, self._new_logprobs())
        self.all_ids.extend(ids)
        done.prompt_tokens = self._prompt_tokens
        done.cached_tokens = int(self._timings.get("cache_n", 0))
        done.completion_tokens = self.produced
        done.reasoning_tokens = self._reasoning_tokens
        done.timings.CopyFrom(timings_of(self._timings, queue_ns))
        self.finished = True
        self._mailbox.done(done)
