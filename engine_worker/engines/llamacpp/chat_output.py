"""Reads /v1/chat/completions' chunks: content, thinking and tool calls that llama.cpp's parsers have found.

llama-server (b11549) does not report the token ids of such answers: `return_tokens` has no effect, and
probabilities, which carry ids, cost 0.5 ms per token and omit all tokens without text. So the whole answer is
tokenised when it ends, with the template's markup around thinking put back, and its ids come with the last
delta. The markup of tool calls is not known; only their arguments are tokenised.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import cast

from drover.v1 import engine_pb2 as pb
from engine_worker.engines.llamacpp.api import JsonObject
from engine_worker.engines.llamacpp.chunks import finish_reason, lead_of, timings_of, token_logprob
from engine_worker.engines.llamacpp.template import ChatTemplate
from engine_worker.output.arguments import Arguments
from engine_worker.output.base import CallPart, Content, Piece, Thinking
from engine_worker.output.mailbox import Mailbox
from engine_worker.output.stop_matcher import StopMatcher
from engine_worker.output.tool_calls import new_call_id

_log = logging.getLogger("drover.worker")


class ChatOutput:
    """An AnswerReader. Stop texts are matched in thinking and in content, not in tool calls. A match
    ends the answer while llama.cpp still generates.
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
        # Tokens attributed to the pieces so far; those of markup count with the next piece.
        self._accounted = 0
        self.produced = 0
        self.finished = self.is_idle = False
        self.all_ids: list[int] = list(started.prompt_ids)

    async def feed(self, chunk: JsonObject, queue_ns: int) -> None:
        if "prompt_progress" in chunk or self.finished:
            return
        if self._started is not None:
            self._mailbox.started(self._started)
            self._started = None
        (choice,) = cast("list[JsonObject]", chunk["choices"])
        if "timings" in chunk:
            self._timings = cast("dict[str, float]", chunk["timings"])
            self.produced = int(self._timings["predicted_n"])
        pieces = self._pieces(cast(JsonObject, choice["delta"]))
        for at, piece in enumerate(pieces, start=1):
            self._take(piece, self._logprobs_of(choice) if at == len(pieces) else [])
            if self._stops.matched is not None:
                await self._end(
                    pb.Done(finish_reason=pb.Done.STOP, matched_stop=self._stops.matched), queue_ns
                )
                return
        if choice["finish_reason"] is not None:
            self.is_idle = True
            verbose = cast(JsonObject, chunk["__verbose"])
            await self._end(self._done_of(verbose), queue_ns)
            self._warn_of_lost_text(str(verbose["stop_type"]))

    def _pieces(self, delta: JsonObject) -> list[Piece]:
        pieces: list[Piece] = []
        if reasoning := delta.get("reasoning_content"):
            pieces.append(Thinking(str(reasoning)))
        if content := delta.get("content"):
            pieces.append(Content(str(content)))
        calls = cast("list[JsonObject]", delta.get("tool_calls") or [])
        return pieces + [self._calls.feed(call) for call in calls]

    def _take(self, piece: Piece, logprobs: Sequence[pb.TokenLogprob] = ()) -> None:
        """`logprobs`: those of the piece's tokens. llama-server reports none for markup."""
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

    def _logprobs_of(self, choice: JsonObject) -> list[pb.TokenLogprob]:
        """Log probabilities of a chunk; llama-server reports none for tokens without text."""
        logprobs = cast("dict[str, list[JsonObject]] | None", choice.get("logprobs"))
        if self._top is None or logprobs is None:
            return []
        return [token_logprob(entry, self._top, lead_of(entry)) for entry in logprobs["content"]]

    def _new_logprobs(self) -> list[pb.TokenLogprob]:
        new, self._logprobs = self._logprobs, []
        return new

    def _done_of(self, verbose: JsonObject) -> pb.Done:
        stop_type = str(verbose["stop_type"])
        done = pb.Done(finish_reason=finish_reason(stop_type))
        if stop_type == "word":
            # A stop text that the chat template brings.
            done.matched_stop = str(verbose["stopping_word"])
        if done.finish_reason == pb.Done.STOP:
            for part in self._calls.finish():
                self._take(part)
        return done

    def _warn_of_lost_text(self, stop_type: str) -> None:
        """Log tokens that llama.cpp's parsers dropped: text at the end that looks like the beginning of
        markup, for example `Hello <`.
        """
        if not self._transcript.is_only_content or stop_type == "word":
            return
        lost = self._prompt_tokens + self.produced - len(self.all_ids) - (stop_type == "eos")
        if lost > 0:
            _log.warning("llama.cpp's parser dropped the last %d tokens of an answer", lost)

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


class Transcript:
    """The text of a parsed answer as the model generated it, with the markup around thinking put back.

    `is_only_content`: the answer has neither thinking nor calls, so the text is exact.
    """

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


class ToolCallDeltas:
    """Tool calls from llama-server's chat deltas, with ids in Ollama's form."""

    def __init__(self) -> None:
        self._arguments: dict[int, Arguments] = {}

    def feed(self, delta: JsonObject) -> CallPart:
        """A piece of a call; the first piece of each call has its name."""
        index, function = cast(int, delta["index"]), cast("dict[str, str]", delta["function"])
        is_new = index not in self._arguments
        fragment = function.get("arguments") or ""
        arguments = self._arguments.setdefault(index, Arguments())
        complete = not arguments.complete and arguments.add(fragment)
        return CallPart(
            index,
            id=new_call_id(index) if is_new else "",
            name=function.get("name") or "",
            arguments=fragment,
            complete=complete,
        )

    def finish(self) -> list[CallPart]:
        """The last pieces of calls that ended without any arguments."""
        return [
            CallPart(index, arguments="{}", complete=True)
            for index, arguments in self._arguments.items()
            if arguments.is_blank
        ]
