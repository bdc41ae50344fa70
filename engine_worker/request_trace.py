"""The spans of one request in this tier: the request, and from its timings the load of the model, the wait in
the queue, prefill and decode.

They are made when the request ends, so that tracing does nothing while tokens are generated.
"""

from __future__ import annotations

import time

from drover.errors import ClientLeft, DroverError
from drover.tracing.span import Attribute, Clock, Kind
from drover.tracing.tracing import Tracing
from drover.v1 import engine_pb2 as pb
from engine_worker.output.mailbox import Mailbox
from engine_worker.request_log import Traced

_NAMES: dict[type[Traced], str] = {
    pb.GenerateRequest: "generate",
    pb.EmbedRequest: "embed",
    pb.ScoreRequest: "score",
    pb.RerankRequest: "rerank",
    pb.ClassifyRequest: "classify",
}
# A shorter wait is the time between two lines of code.
_SHORTEST_QUEUE_NS = 1_000_000


class RequestTrace:
    """Begins when the request arrives; `end` makes its spans. The request's own trace context becomes that of
    its span, so that an engine's spans are below it.
    """

    def __init__(self, tracing: Tracing, request: Traced, engine: str, model: str) -> None:
        attributes: dict[str, Attribute] = {
            "drover.engine": engine,
            "drover.model": model,
            "drover.attempt": request.request_id,
        }
        self._span = tracing.begin(_NAMES[type(request)], Kind.SERVER, request.trace_context, attributes)
        self._clock = Clock()
        self._began_ns = time.perf_counter_ns()
        self._is_resumed = isinstance(request, pb.GenerateRequest) and request.HasField("continuation")
        self._load_ns = 0
        self._first_ns = 0
        self._timings: pb.Timings | None = None
        self._done: pb.Done | None = None
        request.trace_context.clear()
        request.trace_context.update(self._span.carrier())

    @property
    def trace_id(self) -> str:
        """Empty for a request that is not sampled."""
        return self._span.trace_id if self._span.is_recording else ""

    def add_output(self, mailbox: Mailbox) -> None:
        self._load_ns, self._first_ns, self._done = mailbox.load_ns, mailbox.first_ns, mailbox.done_message
        if self._done is not None:
            self._timings = self._done.timings

    def add_timings(self, timings: pb.Timings) -> None:
        """Of a call that only prefills."""
        self._timings, self._load_ns = timings, timings.load_ns

    def end(self, error: DroverError | None) -> None:
        if self._span.is_recording:
            self._add_phases(time.perf_counter_ns(), "" if error is None else type(error).__name__)
        # A client that leaves is no error of the worker.
        failed = error is not None and not isinstance(error, ClientLeft)
        self._span.end(type(error).__name__ if failed else "")

    def _add_phases(self, now_ns: int, error: str) -> None:
        began_ns = self._began_ns
        if self._load_ns:
            self._add("load", began_ns, began_ns + self._load_ns)
            began_ns += self._load_ns
        # Timings of a resumed answer count the earlier attempts too.
        queue_ns = self._timings.queue_ns if self._timings is not None and not self._is_resumed else 0
        if queue_ns >= _SHORTEST_QUEUE_NS:
            self._add("queue", began_ns, began_ns + queue_ns)
            began_ns += queue_ns
        if not self._first_ns:
            # Without a first token: it failed before, or only prefills.
            if self._timings is not None or error:
                self._add("prefill", began_ns, now_ns, error=error)
            return
        self._add("prefill", began_ns, max(began_ns, self._first_ns), self._prefill())
        self._add("decode", self._first_ns, self._decode_end(now_ns), self._decode(), error)

    def _decode_end(self, now_ns: int) -> int:
        """The stream may have taken the last tokens later than the engine made them."""
        if self._timings is None or self._is_resumed:
            return now_ns
        return min(now_ns, self._first_ns + self._timings.decode_ns)

    def _prefill(self) -> dict[str, Attribute]:
        if self._done is None:
            return {}
        return {
            "drover.prompt_tokens": self._done.prompt_tokens,
            "drover.cached_tokens": self._done.cached_tokens,
        }

    def _decode(self) -> dict[str, Attribute]:
        return {} if self._done is None else {"drover.completion_tokens": self._done.completion_tokens}

    def _add(
        self,
        name: str,
        began_ns: int,
        ended_ns: int,
        attributes: dict[str, Attribute] | None = None,
        error: str = "",
    ) -> None:
        unix_ns = self._clock.unix_ns
        self._span.add_past(name, unix_ns(began_ns), unix_ns(ended_ns), attributes, error)
