"""What is known about an HTTP request, for its log line, its response headers and the metrics.

Handlers write into the record; `RecordingObserver` writes what routing does with the request.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, cast

from starlette.types import Message, Scope

from drover import logs
from drover.durations import NS_PER_SECOND, milliseconds
from drover.errors import (
    ClientLeft,
    DeadlineExceeded,
    DroverError,
    EngineFailed,
    EngineStalled,
    ProtocolBroken,
    QueueFull,
    RateLimited,
    WorkerDraining,
    WorkerUnreachable,
)
from drover.v1 import engine_pb2 as pb
from frontend.access.key import Key
from frontend.access.limits.admission import Admission
from frontend.routing.fair_queue import Ticket
from frontend.routing.model_queue import QueueWait
from frontend.routing.resume_strategy import NotResumable, ResumeStrategy
from frontend.routing.scheduling_headers import SchedulingHeaders

if TYPE_CHECKING:
    # It imports OpenTelemetry, which a process without traces does not load.
    from frontend.observability.request_trace import Attempts, RequestTrace

_MAX_QUEUE_NS = 86_400 * NS_PER_SECOND
_STATE_KEY = "drover.record"
_ABORT_CAUSES: dict[type[DroverError], str] = {
    ClientLeft: "client left",
    DeadlineExceeded: "deadline",
    WorkerDraining: "shutdown",
    WorkerUnreachable: "worker lost",
    EngineFailed: "engine failed",
    EngineStalled: "engine stalled",
    ProtocolBroken: "protocol broken",
}
_REFUSALS = (QueueFull, RateLimited)


Results = pb.EmbedResponse | pb.ScoreResponse | pb.RerankResponse | pb.ClassifyResponse


@dataclass(frozen=True, slots=True)
class RouteOutcome:
    """Where the smart router sent a request. `side` is the decision's; `model` is the one that answers, which
    after a fallback is the other side's.
    """

    model: str
    side: str
    decision: str
    fell_back: bool = False

    @property
    def reason(self) -> str:
        return f"fallback after {self.decision}" if self.fell_back else self.decision


@dataclass(frozen=True, slots=True)
class TokenCounts:
    """`cached`: those of the prompt that were found in the prefix cache."""

    prompt: int = 0
    cached: int = 0
    generated: int = 0


@dataclass(slots=True)
class RequestRecord:
    """One request's facts. Handlers add to `fields`, which become fields of its log line. Times are of
    time.perf_counter_ns. `send_body`: the server's own send, without the middleware, which changes only
    response heads.
    """

    request_id: str
    send_body: Callable[[Message], Coroutine[object, object, None]]
    client: str = ""
    """Fair-queueing key."""
    address: str = ""
    """The client's address, behind trusted proxies."""
    key: Key | None = None
    """The client's key; None where no keys are used."""
    admission: Admission | None = None
    """What the request holds of its key's limits; None where it has none."""
    refused_limit: str = ""
    """The name of the limit that refused it."""
    scheduling: SchedulingHeaders | None = None
    """None until they are read."""
    is_understood: bool = False
    """A body under /v1 was read and is valid: later errors come from the native steps."""
    received_ns: int = field(default_factory=time.perf_counter_ns)
    status: int = 0
    fields: dict[str, logs.Field] = field(default_factory=dict)
    model: str = ""
    """The name of the model that the client asked for, as lists show it; empty before it is found."""
    served: str = ""
    """The main name of the model that workers serve for it; empty before it is known."""
    ttft_ns: int = 0
    truncated_tokens: int = 0
    waited: QueueWait = field(default_factory=QueueWait)
    asked_ns: int = 0
    """When it first asked for a place at a worker; 0 before that."""
    granted_ns: int = 0
    """When it first got a place at a worker; 0 before that."""
    waited_for_first: float = 0.0
    """Seconds of `waited` until then."""
    is_refused: bool = False
    """Refused for want of room, or by a limit."""
    retries: int = 0
    failovers: int = 0
    """How often it resumed on another worker after its first token."""
    not_resumable: str = ""
    """The reason why it could not resume."""
    error: str = ""
    """Its name; empty for a success and for a client that left."""
    abort_cause: str = ""
    done: pb.Done | None = None
    """The ends of its answers, added up as the response reports them."""
    unfinished: TokenCounts = TokenCounts()
    """Of answers that began and did not end."""
    routed: RouteOutcome | None = None
    judge: str = ""
    """The main name of the model that judged it."""
    judge_seconds: float = 0.0
    judge_probability: float | None = None
    """Of the likeliest side; None where no judge scored the sides."""
    trace: RequestTrace | None = None
    """None for a request that is not traced."""

    @property
    def elapsed_ns(self) -> int:
        return time.perf_counter_ns() - self.received_ns

    @property
    def tokens(self) -> TokenCounts:
        """The tokens of the request until now. Those of an answer that was cut off are what had arrived of
        it; its prompt counts unless another answer of the request reported one.
        """
        done, cut = self.done, self.unfinished
        if done is None:
            return cut
        return TokenCounts(done.prompt_tokens, done.cached_tokens, done.completion_tokens + cut.generated)

    @property
    def queued_seconds(self) -> float:
        """In the queues of this frontend and of the worker; until now for a request that has got no place."""
        if self.asked_ns and not self.granted_ns:
            return (time.perf_counter_ns() - self.asked_ns) / NS_PER_SECOND
        # A worker's number may be anything.
        in_worker = min(max(0, self.done.timings.queue_ns), _MAX_QUEUE_NS) if self.done else 0
        return self.waited.seconds + in_worker / NS_PER_SECOND

    @property
    def running_seconds(self) -> float:
        """From the first place at a worker until now, without the queues."""
        if not self.granted_ns:
            return 0.0
        passed = (time.perf_counter_ns() - self.granted_ns) / NS_PER_SECOND
        return max(0.0, passed - (self.queued_seconds - self.waited_for_first))

    def queue_headers(self) -> list[tuple[bytes, bytes]]:
        """Time in the queue and the first position in it; none for a request that did not wait."""
        if not self.waited.position:
            return []
        return [
            (b"x-drover-queue-seconds", b"%.3f" % self.waited.seconds),
            (b"x-drover-queue-position", b"%d" % self.waited.position),
        ]

    def route_headers(self) -> list[tuple[bytes, bytes]]:
        """The model that answers a virtual model's request, and the reason."""
        if self.routed is None:
            return []
        headers = [
            (b"x-drover-routed-model", self.routed.model.encode()),
            (b"x-drover-route-reason", self.routed.reason.encode()),
        ]
        if self.judge_probability is not None:
            headers.append((b"x-drover-route-probability", b"%.4f" % self.judge_probability))
        return headers

    def route_fields(self) -> dict[str, str]:
        """The same for the last object of the response; empty for other models."""
        if self.routed is None:
            return {}
        return {"routed_model": self.routed.model, "route_reason": self.routed.reason}

    def record_verdict(self, probability: float, label_mass: float) -> None:
        """The judge's probability of the likeliest side, and what it gave to all sides' labels together."""
        self.judge_probability = probability
        self.fields |= {
            "route_probability": round(probability, 4),
            "route_label_mass": round(label_mass, 4),
        }

    def record_judge(self, judge: str, seconds: float) -> None:
        self.judge, self.judge_seconds = judge, seconds
        self.fields["judge_ms"] = round(seconds * 1000, 2)

    @property
    def ticket(self) -> Ticket:
        priority = self.scheduling.priority if self.scheduling else 0
        return Ticket(
            self.client, self.request_id, priority, weight=1.0 if self.key is None else self.key.weight
        )

    def record_first_event(self, not_honoured: list[str], truncated_tokens: int) -> None:
        self.ttft_ns = self.elapsed_ns
        self.truncated_tokens = truncated_tokens
        self.fields["ttft_ms"] = milliseconds(self.ttft_ns)
        if not_honoured:
            self.fields["not_honoured"] = not_honoured
        if truncated_tokens:
            self.fields["truncated_tokens"] = truncated_tokens

    def record_error(self, error: DroverError) -> None:
        self.abort_cause = _ABORT_CAUSES.get(type(error), "")
        if isinstance(error, RateLimited):
            self.refused_limit = self.fields["refused_limit"] = error.limit
        self.is_refused = isinstance(error, _REFUSALS)
        if isinstance(error, ClientLeft):
            self.fields["client_left"] = True
        else:
            self.error = type(error).__name__
            self.fields |= {"error": self.error, "error_message": error.message}

    def end_admission(self) -> None:
        """Settle with the key's limits. The response has ended, or never began."""
        if self.admission is not None:
            tokens = self.tokens
            self.admission.end(tokens.prompt + tokens.generated)

    def record_done(self, done: pb.Done) -> None:
        self.done = done
        self.fields |= {
            "prompt_tokens": done.prompt_tokens,
            "completion_tokens": done.completion_tokens,
            "finish": pb.Done.FinishReason.Name(done.finish_reason).lower(),
            "queue_ms": milliseconds(done.timings.queue_ns),
        }

    def record_scores(self, response: pb.ScoreResponse) -> None:
        self._record_prompts(response)
        self.fields |= {
            "scored": len(response.results),
            "prompt_tokens": response.prompt_tokens,
            "cached_tokens": response.cached_tokens,
            "queue_ms": milliseconds(response.timings.queue_ns),
        }

    def record_results(
        self, kind: str, count: int, response: Results, truncated_tokens: int, not_honoured: list[str]
    ) -> None:
        """`kind`: what there are `count` of in the response."""
        self._record_prompts(response)
        self.fields |= {
            kind: count,
            "prompt_tokens": response.prompt_tokens,
            "queue_ms": milliseconds(response.timings.queue_ns),
        }
        if not_honoured:
            self.fields["not_honoured"] = not_honoured
        if truncated_tokens:
            self.fields["truncated_tokens"] = truncated_tokens

    def _record_prompts(self, response: Results) -> None:
        """The prompts count as those of generations do; nothing is generated."""
        self.done = pb.Done(prompt_tokens=response.prompt_tokens, timings=response.timings)
        if isinstance(response, pb.ScoreResponse):
            self.done.cached_tokens = response.cached_tokens


def attach_record(scope: Scope, record: RequestRecord) -> None:
    scope.setdefault("state", {})[_STATE_KEY] = record


def detach_record(scope: Scope) -> None:
    """Break the cycle of the scope, its record and, by `send_body`, the server's request: it would keep all
    of them until the garbage collector's next full run.
    """
    del scope["state"][_STATE_KEY]


def record_of(scope: Scope) -> RequestRecord:
    return cast(RequestRecord, scope["state"][_STATE_KEY])


class SilentObserver:
    """Implements frontend.routing.failover.FailoverObserver for a request of this frontend's own, which has
    no record. `trace`: of the request that it is for.
    """

    def __init__(self, trace: RequestTrace | None = None) -> None:
        self._trace = trace
        self._attempts: Attempts | None = None if trace is None else trace.attempts()

    def queued(self) -> None:
        if self._attempts is not None:
            self._attempts.queued()

    def waited(self, wait: QueueWait) -> None:
        if self._attempts is not None:
            self._attempts.waited(wait)

    def not_queued(self, error: DroverError) -> None:
        if self._attempts is not None:
            self._attempts.not_queued(error)

    def sent_to(self, address: str) -> Mapping[str, str]:
        return {} if self._attempts is None else self._attempts.sent_to(address)

    def ended(self, error: DroverError | None) -> None:
        if self._attempts is not None:
            self._attempts.ended(error)

    def retried(self, error: DroverError) -> None: ...

    def failed_over(self, strategy: ResumeStrategy, error: DroverError) -> None: ...

    def not_resumable(self, reason: NotResumable, error: DroverError) -> None: ...

    def cut_off(self, prompt_tokens: int, cached_tokens: int, generated_tokens: int) -> None: ...


class RecordingObserver(SilentObserver):
    """Records waits, attempts and failovers of a request."""

    def __init__(self, record: RequestRecord) -> None:
        super().__init__(record.trace)
        self._record = record
        self._waited_seconds = record.waited.seconds

    def queued(self) -> None:
        super().queued()
        if not self._record.asked_ns:
            self._record.asked_ns = time.perf_counter_ns()

    def waited(self, wait: QueueWait) -> None:
        """Sum up consecutive waits, with the first position. Of choices that wait in parallel the record has
        the longest.
        """
        super().waited(wait)
        record = self._record
        if wait.position:
            self._add_wait(wait)
        if not record.granted_ns:
            record.granted_ns, record.waited_for_first = time.perf_counter_ns(), record.waited.seconds

    def _add_wait(self, wait: QueueWait) -> None:
        record = self._record
        position = record.waited.position or wait.position
        self._waited_seconds += wait.seconds
        record.waited = QueueWait(max(record.waited.seconds, self._waited_seconds), position)
        record.fields["waited_ms"] = round(record.waited.seconds * 1000, 2)
        record.fields["queue_position"] = position

    def sent_to(self, address: str) -> Mapping[str, str]:
        self._record.fields["worker"] = address
        return super().sent_to(address)

    def retried(self, error: DroverError) -> None:
        self._record.retries += 1
        self._record_failure("retries", self._record.retries, error)

    def failed_over(self, strategy: ResumeStrategy, error: DroverError) -> None:
        self._record.failovers += 1
        self._record_failure("failovers", self._record.failovers, error)

    def not_resumable(self, reason: NotResumable, error: DroverError) -> None:
        self._record.not_resumable = reason.value
        self._record.fields["not_resumable"] = reason.value

    def cut_off(self, prompt_tokens: int, cached_tokens: int, generated_tokens: int) -> None:
        """Choices of one prompt share its tokens, so that the longest prompt counts."""
        before = self._record.unfinished
        self._record.unfinished = TokenCounts(
            max(before.prompt, prompt_tokens),
            max(before.cached, cached_tokens),
            before.generated + generated_tokens,
        )

    def _record_failure(self, field: str, times: int, error: DroverError) -> None:
        self._record.fields[field] = times
        self._record.fields["worker_error"] = error.message
