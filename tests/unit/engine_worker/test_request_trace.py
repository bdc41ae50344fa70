"""The spans that a worker makes of a request, from its timings."""

from __future__ import annotations

import time

import pytest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF

from drover.errors import ClientLeft, DroverError, EngineFailed, QueueFull
from drover.v1 import engine_pb2 as pb
from engine_worker.output.mailbox import Mailbox
from engine_worker.request_trace import RequestTrace
from tests.support.span_memory import SpanMemory

_MS = 1_000_000
_PARENT = {"traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", "tracestate": "a=b"}


@pytest.fixture
def memory() -> SpanMemory:
    return SpanMemory()


def _trace(memory: SpanMemory, request: pb.GenerateRequest | None = None) -> RequestTrace:
    request = request or pb.GenerateRequest(request_id="attempt", trace_context=_PARENT)
    return RequestTrace(memory.tracing, request, "simulator", "m:latest")


def _answered(load_ms: int = 0, queue_ms: int = 0) -> Mailbox:
    """A mailbox with a whole answer, whose decode took no time."""
    mailbox = Mailbox()
    mailbox.load_ns = load_ms * _MS
    mailbox.started(pb.Started(prompt_ids=[1, 2]))
    timings = pb.Timings(queue_ns=queue_ms * _MS, prefill_ns=1, decode_ns=1)
    mailbox.done(pb.Done(prompt_tokens=2, cached_tokens=1, completion_tokens=3, timings=timings))
    return mailbox


def _ms(span: ReadableSpan) -> int:
    return round(((span.end_time or 0) - (span.start_time or 0)) / _MS)


def test_an_answer_is_prefill_and_decode_below_the_frontends_attempt(memory: SpanMemory) -> None:
    trace = _trace(memory)
    trace.add_output(_answered())
    trace.end(None)

    assert memory.tree() == ["/generate", "generate/prefill", "generate/decode"]
    generate = memory.one("generate")
    assert generate.parent is not None
    assert f"{generate.parent.span_id:016x}" == "b7ad6b7169203331"
    assert dict(generate.attributes or {}) == {
        "drover.engine": "simulator",
        "drover.model": "m:latest",
        "drover.attempt": "attempt",
    }
    assert memory.one("prefill").attributes == {"drover.prompt_tokens": 2, "drover.cached_tokens": 1}
    assert memory.one("decode").attributes == {"drover.completion_tokens": 3}
    assert memory.one("prefill").end_time == memory.one("decode").start_time


def test_loading_and_waiting_have_spans_one_after_the_other(memory: SpanMemory) -> None:
    trace = _trace(memory)
    mailbox = _answered(load_ms=30, queue_ms=20)
    mailbox.first_ns = time.perf_counter_ns() + 80 * _MS
    trace.add_output(mailbox)
    trace.end(None)

    assert memory.tree()[:4] == ["/generate", "generate/load", "generate/queue", "generate/prefill"]
    load, queue, prefill = (memory.one(name) for name in ("load", "queue", "prefill"))
    assert (_ms(load), _ms(queue)) == (30, 20)
    assert load.end_time == queue.start_time
    assert queue.end_time == prefill.start_time
    assert _ms(prefill) >= 29


def test_a_wait_of_no_time_has_no_span(memory: SpanMemory) -> None:
    trace = _trace(memory)
    trace.add_output(_answered(queue_ms=0))
    trace.end(None)
    assert "generate/queue" not in memory.tree()


def test_a_resumed_answer_counts_its_own_times_only(memory: SpanMemory) -> None:
    """Its timings have those of the earlier attempts too, which this worker did not see."""
    request = pb.GenerateRequest(request_id="a", continuation=pb.Continuation(produced_ids=[1]))
    trace = _trace(memory, request)
    mailbox = _answered(queue_ms=60_000)
    assert mailbox.done_message is not None
    mailbox.done_message.timings.decode_ns = 60_000 * _MS
    trace.add_output(mailbox)
    trace.end(None)

    assert memory.tree() == ["/generate", "generate/prefill", "generate/decode"]
    assert _ms(memory.one("decode")) < 30_000


@pytest.mark.parametrize(
    ("error", "tree"),
    [
        (EngineFailed("secret"), ["/generate!EngineFailed", "generate/prefill!EngineFailed"]),
        (QueueFull(), ["/generate!QueueFull", "generate/prefill!QueueFull"]),
        (ClientLeft("cancelled"), ["/generate", "generate/prefill!ClientLeft"]),
    ],
)
def test_a_failure_before_the_first_token_is_in_the_prefill(
    memory: SpanMemory, error: DroverError, tree: list[str]
) -> None:
    trace = _trace(memory)
    trace.add_output(Mailbox())
    trace.end(error)

    assert memory.tree() == tree
    assert "secret" not in "".join(span.to_json() for span in memory.spans)


def test_a_failure_after_it_is_in_the_decode(memory: SpanMemory) -> None:
    trace = _trace(memory)
    mailbox = Mailbox()
    mailbox.started(pb.Started(prompt_ids=[1]))
    trace.add_output(mailbox)
    trace.end(EngineFailed("no"))

    expected = ["/generate!EngineFailed", "generate/prefill", "generate/decode!EngineFailed"]
    assert memory.tree() == expected


@pytest.mark.parametrize(
    ("request_", "name"),
    [
        (pb.EmbedRequest(texts=["a"]), "embed"),
        (pb.ScoreRequest(), "score"),
        (pb.RerankRequest(), "rerank"),
        (pb.ClassifyRequest(), "classify"),
    ],
)
def test_calls_that_only_prefill(
    memory: SpanMemory,
    request_: pb.EmbedRequest | pb.ScoreRequest | pb.RerankRequest | pb.ClassifyRequest,
    name: str,
) -> None:
    request_.trace_context.update(_PARENT)
    trace = RequestTrace(memory.tracing, request_, "simulator", "m")
    trace.add_timings(pb.Timings(load_ns=2 * _MS, prefill_ns=1))
    trace.end(None)
    assert memory.tree() == [f"/{name}", f"{name}/load", f"{name}/prefill"]


def test_the_engine_gets_the_context_of_the_workers_span(memory: SpanMemory) -> None:
    request = pb.GenerateRequest(request_id="a", trace_context=_PARENT | {"other": "x"})
    trace = _trace(memory, request)
    trace.add_output(_answered())
    trace.end(None)

    span_id = memory.one("generate").context.span_id
    assert dict(request.trace_context) == {
        "traceparent": f"00-0af7651916cd43dd8448eb211c80319c-{span_id:016x}-01",
        "tracestate": "a=b",
    }


def test_a_request_that_is_not_sampled_has_no_spans_and_no_id() -> None:
    memory = SpanMemory(ALWAYS_OFF)
    request = pb.GenerateRequest(request_id="a", trace_context=_PARENT)
    trace = _trace(memory, request)
    trace.add_output(_answered())
    assert trace.trace_id == ""
    trace.end(None)
    assert memory.spans == []
    assert int(request.trace_context["traceparent"].rpartition("-")[2], 16) & 1 == 0
