"""One line in the log for each request of a worker."""

from __future__ import annotations

import logging
import time
from typing import Protocol, TypeVar

import grpc

from drover import logs
from drover.durations import milliseconds
from drover.errors import DroverError
from drover.rpc import REQUEST_ID_METADATA_KEY
from drover.v1 import engine_pb2 as pb
from engine_worker.output.mailbox import Mailbox

_log = logging.getLogger("drover.worker.request")

Request = TypeVar("Request")
Response = TypeVar("Response")


Results = pb.EmbedResponse | pb.RerankResponse | pb.ClassifyResponse


Traced = pb.GenerateRequest | pb.EmbedRequest | pb.ScoreRequest | pb.RerankRequest | pb.ClassifyRequest


class Trace(Protocol):
    """The spans of one request in this tier (request_trace.py)."""

    @property
    def trace_id(self) -> str: ...

    def add_output(self, mailbox: Mailbox) -> None: ...

    def add_timings(self, timings: pb.Timings) -> None: ...

    def end(self, error: DroverError | None) -> None: ...


class BeginTrace(Protocol):
    """Begins the trace of a request that has arrived, None where there is none."""

    def __call__(self, request: Traced) -> Trace | None: ...


def untraced(request: Traced) -> Trace | None:
    """For a worker without tracing."""
    return None


class RequestLine:
    """The log line of one request: fields are added while it runs, and written at its end. `trace`: ended
    with it, None for a request that is not traced.
    """

    def __init__(self, attempt_id: str, request_id: str, trace: Trace | None = None) -> None:
        self._attempt_id = attempt_id
        self._request_id = request_id
        self._trace = trace
        self._began_ns = time.perf_counter_ns()
        self._first_ns = 0
        self._done: pb.Done | None = None
        self._started: pb.Started | None = None
        self._results: Results | None = None
        self._scored: pb.ScoreResponse | None = None

    def add_output(self, mailbox: Mailbox) -> None:
        """Add the fields of what an answer has produced."""
        self._first_ns = mailbox.first_ns
        self._started, self._done = mailbox.started_message, mailbox.done_message
        if self._trace is not None:
            self._trace.add_output(mailbox)

    def add_results(self, response: Results) -> None:
        self._results = response
        if self._trace is not None:
            self._trace.add_timings(response.timings)

    def add_scores(self, response: pb.ScoreResponse) -> None:
        self._scored = response
        if self._trace is not None:
            self._trace.add_timings(response.timings)

    def write(self, error: DroverError | None) -> None:
        """Write the line. `attempt` is the engine's id of the request, `request_id` the client's."""
        fields: dict[str, logs.Field] = {"request_id": self._request_id, "attempt": self._attempt_id}
        if self._trace is not None and (trace_id := self._trace.trace_id):
            fields["trace_id"] = trace_id
        if self._first_ns:
            fields["first_ms"] = milliseconds(self._first_ns - self._began_ns)
        fields["total_ms"] = milliseconds(time.perf_counter_ns() - self._began_ns)
        if self._started is not None:
            if self._started.truncated_tokens:
                fields["truncated_tokens"] = self._started.truncated_tokens
            if self._started.not_honoured:
                fields["not_honoured"] = list(self._started.not_honoured)
        if self._done is not None:
            done = self._done
            fields |= {
                "finish": pb.Done.FinishReason.Name(done.finish_reason).lower(),
                "prompt_tokens": done.prompt_tokens,
                "cached_tokens": done.cached_tokens,
                "completion_tokens": done.completion_tokens,
                "queue_ms": milliseconds(done.timings.queue_ns),
            }
            fields |= _load_ms(done.timings)
        if self._results is not None:
            fields |= _count_of(self._results)
            fields |= {
                "prompt_tokens": self._results.prompt_tokens,
                "queue_ms": milliseconds(self._results.timings.queue_ns),
            }
            fields |= _load_ms(self._results.timings)
            if self._results.truncated_tokens:
                fields["truncated_tokens"] = self._results.truncated_tokens
        if self._scored is not None:
            fields |= {
                "scored": len(self._scored.results),
                "prompt_tokens": self._scored.prompt_tokens,
                "cached_tokens": self._scored.cached_tokens,
                "queue_ms": milliseconds(self._scored.timings.queue_ns),
            }
            fields |= _load_ms(self._scored.timings)
        if error is not None:
            fields |= {"error": type(error).__name__, "error_message": error.message}
        logs.event(_log, logging.INFO, "request", **fields)
        if self._trace is not None:
            self._trace.end(error)


def client_request_id(context: grpc.aio.ServicerContext[Request, Response]) -> str:
    """The client's request id from the metadata; empty if there is none."""
    metadata = dict(context.invocation_metadata() or ())
    return str(metadata.get(REQUEST_ID_METADATA_KEY, ""))


def _count_of(results: Results) -> dict[str, logs.Field]:
    match results:
        case pb.EmbedResponse():
            return {"embeddings": len(results.embeddings)}
        case pb.RerankResponse():
            return {"scores": len(results.scores)}
        case _:
            return {"classifications": len(results.classifications)}


def _load_ms(timings: pb.Timings) -> dict[str, logs.Field]:
    return {"load_ms": milliseconds(timings.load_ns)} if timings.load_ns else {}
