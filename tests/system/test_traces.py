"""One trace through both tiers and a failover, with both tiers as processes and a collector of the test's
own.
"""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from tests.chaos.fleet import MODEL, Fleet, running_fleet
from tests.support.otlp_sink import OtlpSink, SinkSpan, otlp_sink
from tests.support.processes import frontend
from tests.support.waiting import wait_until

_DEADLINE_SECONDS = 20.0
_TOKENS = 40
_PROMPT = "a secret about violets"
_KEY = "sk-verysecret"
_SLOW = (
    *("--sim-decode-step-base-ms", "25", "--sim-decode-step-per-running-ms", "0"),
    *("--sim-answer-tokens-min", "5000", "--sim-answer-tokens-max", "5000"),
)
_ROUTER = {"judge": MODEL, "simple": MODEL, "complex": MODEL}
_TRACE = "0af7651916cd43dd8448eb211c80319c"
_UNSAMPLED = "1bf7651916cd43dd8448eb211c80319c"
_CALLER = "b7ad6b7169203331"


@contextmanager
def _traced_to(address: str) -> Iterator[None]:
    """Processes that start within it export to this collector, soon."""
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://{address}")
        environment.setenv("OTEL_EXPORTER_OTLP_HEADERS", "api-key=collectors")
        environment.setenv("OTEL_BSP_SCHEDULE_DELAY", "200")
        yield


@pytest.fixture(scope="module")
def sink() -> Iterator[OtlpSink]:
    with otlp_sink() as running:
        yield running


@pytest.fixture(scope="module")
def fleet(sink: OtlpSink, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    folder = tmp_path_factory.mktemp("traced")
    flags = ("--store-responses", "--smart-routers", json.dumps({"auto": _ROUTER}))
    with (
        _traced_to(sink.address),
        running_fleet(folder, workers=2, worker_flags=_SLOW, frontend_flags=flags) as running,
    ):
        yield running


def _body(**more: object) -> dict[str, object]:
    options = {"num_predict": _TOKENS, "temperature": 0.25}
    return {
        "model": MODEL,
        "messages": [{"role": "user", "content": _PROMPT}],
        "options": options,
        **more,
    }


def _headers(trace_id: str, flags: str = "01") -> dict[str, str]:
    return {
        "traceparent": f"00-{trace_id}-{_CALLER}-{flags}",
        "tracestate": "vendor=1",
        "authorization": f"Bearer {_KEY}",
    }


def _one(sink: OtlpSink, name: str, trace_id: str) -> SinkSpan:
    wait_until(lambda: bool(sink.named(name, trace_id)), _DEADLINE_SECONDS, f"the span {name} is exported")
    (span,) = sink.named(name, trace_id)
    return span


def _is_within(inner: SinkSpan, outer: SinkSpan) -> bool:
    # The clock of the spans from timings is read once, when the request arrives.
    slack_ns = 5_000_000
    return outer.began_ns - slack_ns <= inner.began_ns and inner.ended_ns <= outer.ended_ns + slack_ns


def _log_lines(path: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in path.read_text().splitlines() if line.startswith("{")]


def test_a_trace_goes_through_both_tiers_and_a_failover(fleet: Fleet, sink: OtlpSink) -> None:
    with httpx.stream(
        "POST", f"{fleet.url()}/api/chat", json=_body(), headers=_headers(_TRACE), timeout=30
    ) as answer:
        lines = answer.iter_lines()
        for _ in range(4):
            next(lines)
        victim = next(number for number in range(2) if fleet.running(number))
        fleet.workers[victim].signal(signal.SIGKILL)
        last = [json.loads(line) for line in lines if line][-1]
    assert last["done_reason"] == "length"

    request = _one(sink, "POST /api/chat", _TRACE)
    wait_until(lambda: bool(sink.named("decode", _TRACE)), _DEADLINE_SECONDS, "the worker has exported")
    first, second = sink.named("attempt", _TRACE)
    generate, prefill, decode = (_one(sink, name, _TRACE) for name in ("generate", "prefill", "decode"))

    assert request.parent_id == _CALLER
    assert request.service == "drover-frontend"
    assert not request.failed
    assert request.attributes["http.request.method"] == "POST"
    assert request.attributes["http.route"] == "/api/chat"
    assert request.attributes["http.response.status_code"] == 200
    assert request.attributes["gen_ai.operation.name"] == "chat"
    assert request.attributes["gen_ai.request.model"] == MODEL
    assert request.attributes["gen_ai.response.model"] == f"{MODEL}:latest"
    assert request.attributes["gen_ai.request.temperature"] == 0.25
    assert request.attributes["gen_ai.request.max_tokens"] == _TOKENS
    assert request.attributes["gen_ai.request.stream"] is True
    assert request.attributes["gen_ai.usage.input_tokens"] == last["prompt_eval_count"]
    assert request.attributes["gen_ai.usage.output_tokens"] == last["eval_count"] == _TOKENS
    assert request.attributes["gen_ai.response.finish_reasons"] == ["length"]
    assert request.attributes["drover.failovers"] == 1

    survivor = fleet.workers[1 - victim].address
    assert (first.parent_id, second.parent_id) == (request.span_id, request.span_id)
    assert first.failed
    assert first.attributes["error.type"] == "WorkerUnreachable"
    assert first.attributes["drover.worker"] == fleet.workers[victim].address
    assert not second.failed
    assert second.attributes["drover.worker"] == survivor
    assert second.attributes["server.port"] == int(survivor.rpartition(":")[2])
    assert first.ended_ns <= second.began_ns

    assert generate.parent_id == second.span_id
    assert generate.service == "drover-worker"
    assert (prefill.parent_id, decode.parent_id) == (generate.span_id, generate.span_id)
    assert prefill.ended_ns <= decode.began_ns
    assert all(_is_within(inner, generate) for inner in (prefill, decode))
    # The worker's span may end later: the frontend has the last row before the worker has cleaned up.
    assert second.began_ns <= generate.began_ns < second.ended_ns
    assert _is_within(second, request)

    fleet.restart_worker(victim)


def test_log_lines_have_the_trace(fleet: Fleet, sink: OtlpSink) -> None:
    trace = "2cf7651916cd43dd8448eb211c80319c"
    httpx.post(f"{fleet.url()}/v1/chat/completions", json=_body(max_tokens=2), headers=_headers(trace))
    _one(sink, "generate", trace)

    logs = [fleet.frontends[0].log, *(worker.log for worker in fleet.workers)]
    found = [line for log in logs for line in _log_lines(log) if line.get("trace_id") == trace]
    assert sorted(str(line["logger"]) for line in found) == ["drover.request", "drover.worker.request"]


def test_a_judges_call_is_an_attempt_of_the_request_that_it_judges(fleet: Fleet, sink: OtlpSink) -> None:
    trace = "7bf7651916cd43dd8448eb211c80319c"
    answer = httpx.post(
        f"{fleet.url()}/api/chat",
        json=_body(model="auto", stream=False, options={"num_predict": 2}),
        headers=_headers(trace),
        timeout=30,
    )
    assert answer.headers["x-drover-route-reason"] == "judge"

    request, score, generate = (_one(sink, name, trace) for name in ("POST /api/chat", "score", "generate"))
    attempts = sink.named("attempt", trace)
    assert [attempt.parent_id for attempt in attempts] == [request.span_id] * 2
    assert [score.parent_id, generate.parent_id] == [attempt.span_id for attempt in attempts]
    assert request.attributes["gen_ai.response.model"] == f"{MODEL}:latest"


def test_a_response_in_the_background_continues_the_trace(fleet: Fleet, sink: OtlpSink) -> None:
    trace = "8cf7651916cd43dd8448eb211c80319c"
    body = {"model": MODEL, "input": _PROMPT, "background": True, "max_output_tokens": 4}
    answer = httpx.post(f"{fleet.url()}/v1/responses", json=body, headers=_headers(trace), timeout=30)
    assert answer.json()["status"] in ("queued", "in_progress")

    request, background = (_one(sink, name, trace) for name in ("POST /v1/responses", "background"))
    attempt, generate = (_one(sink, name, trace) for name in ("attempt", "generate"))
    assert background.parent_id == request.span_id
    assert attempt.parent_id == background.span_id
    assert generate.parent_id == attempt.span_id
    assert background.attributes["gen_ai.usage.output_tokens"] == 4


def test_a_drover_behind_an_ollama_address_continues_the_trace(
    fleet: Fleet, sink: OtlpSink, tmp_path: Path
) -> None:
    trace = "9df7651916cd43dd8448eb211c80319c"
    hosted = f"ollama:{fleet.url()}/{MODEL}"
    with _traced_to(sink.address), frontend(tmp_path / "outer.log", [hosted]) as outer:
        body = _body(stream=False, options={"num_predict": 2})
        url = f"http://{outer.address}/api/chat"
        assert httpx.post(url, json=body, headers=_headers(trace), timeout=30).status_code == 200
        wait_until(lambda: len(sink.named("POST /api/chat", trace)) == 2, _DEADLINE_SECONDS, "both export")

    far, near = sink.named("POST /api/chat", trace)
    first, second = sink.named("attempt", trace)
    assert (far.parent_id, first.parent_id) == (_CALLER, far.span_id)
    assert (near.parent_id, second.parent_id) == (first.span_id, near.span_id)


def test_a_clients_mistake_is_no_error_of_the_server(fleet: Fleet, sink: OtlpSink) -> None:
    trace = "3df7651916cd43dd8448eb211c80319c"
    answer = httpx.post(f"{fleet.url()}/api/chat", json=_body(model="missing"), headers=_headers(trace))
    assert answer.status_code == 404
    span = _one(sink, "POST /api/chat", trace)
    assert not span.failed
    assert span.attributes["http.response.status_code"] == 404
    assert "gen_ai.request.model" not in span.attributes


def test_the_context_of_a_request_that_is_not_sampled_reaches_the_worker(
    fleet: Fleet, sink: OtlpSink
) -> None:
    headers = _headers(_UNSAMPLED, flags="00")
    answer = httpx.post(f"{fleet.url()}/api/chat", json=_body(stream=False), headers=headers, timeout=30)
    assert answer.json()["done"] is True
    after = "4ef7651916cd43dd8448eb211c80319c"
    httpx.post(f"{fleet.url()}/api/chat", json=_body(stream=False), headers=_headers(after), timeout=30)
    _one(sink, "decode", after)
    _one(sink, "POST /api/chat", after)

    # Neither tier sampled it; a worker without the context would have begun a trace of its own.
    assert sink.spans(_UNSAMPLED) == []
    assert all(span.parent_id for span in sink.named("generate"))


def test_spans_have_no_prompt_no_answer_and_no_key(fleet: Fleet, sink: OtlpSink) -> None:
    trace = "5ff7651916cd43dd8448eb211c80319c"
    answer = httpx.post(
        f"{fleet.url()}/api/generate",
        json={
            "model": MODEL,
            "prompt": _PROMPT,
            "stream": False,
            "options": {"num_predict": 20, "stop": ["zz"]},
        },
        headers=_headers(trace),
        timeout=30,
    ).json()
    _one(sink, "decode", trace)

    exported = repr(sink.spans())
    assert "violets" not in exported
    assert _KEY not in exported
    assert answer["response"]
    assert answer["response"] not in exported
    assert any(headers["api-key"] == "collectors" for headers in sink.headers)


def test_probes_and_scrapes_are_not_traced(fleet: Fleet, sink: OtlpSink) -> None:
    for path in ("/healthz", "/readyz", "/metrics"):
        httpx.get(f"{fleet.url()}{path}")
    trace = "6af7651916cd43dd8448eb211c80319c"
    httpx.get(f"{fleet.url()}/api/tags", headers=_headers(trace))
    _one(sink, "GET /api/tags", trace)

    assert not [span for span in sink.spans() if span.attributes.get("http.route") in ("/readyz", "/metrics")]
