"""SGLang's own spans in the trace of a request, and its own metrics at the worker's metrics address."""

from __future__ import annotations

from collections.abc import Iterator

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.support.otlp_sink import OtlpSink, otlp_sink
from tests.support.processes import Stack, free_port, frontend, worker
from tests.support.waiting import wait_until

_DEADLINE_SECONDS = 60.0
_TRACE = "0af7651916cd43dd8448eb211c80319c"
_METRICS = f"127.0.0.1:{free_port()}"


@pytest.fixture(scope="module")
def sink() -> Iterator[OtlpSink]:
    with otlp_sink() as running:
        yield running


@pytest.fixture(scope="module")
def traced(sink: OtlpSink, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    folder = tmp_path_factory.mktemp("traced")
    flags = (
        *("--engine", "sglang", "--name", "smol", "--context-length", "512", "--slots", "4"),
        *("--metrics-listen", _METRICS, "--sglang-args=--enable-trace --max-total-tokens 8192"),
    )
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://{sink.address}")
        environment.setenv("OTEL_BSP_SCHEDULE_DELAY", "200")
        with (
            worker(folder / "worker.log", *flags) as one,
            frontend(folder / "frontend.log", [one.address]) as other,
        ):
            yield Stack(one, other)


def _ask(traced: Stack, path: str, **body: object) -> None:
    headers = {"traceparent": f"00-{_TRACE}-b7ad6b7169203331-01"}
    answer = httpx.post(f"{traced.url}{path}", json={"model": "smol", **body}, headers=headers, timeout=60)
    assert answer.status_code == 200, answer.text


def test_sglangs_spans_are_below_the_workers(traced: Stack, sink: OtlpSink) -> None:
    _ask(traced, "/api/generate", prompt="hello", stream=False, options={"num_predict": 4})
    wait_until(
        lambda: (
            any(span.service == "sglang" for span in sink.spans(_TRACE))
            and bool(sink.named("generate", _TRACE))
        ),
        _DEADLINE_SECONDS,
        "both have exported",
    )

    (generate,) = sink.named("generate", _TRACE)
    assert generate.service == "drover-worker"
    wait_until(
        lambda: any(
            span.service == "sglang" and span.parent_id == generate.span_id for span in sink.spans(_TRACE)
        ),
        _DEADLINE_SECONDS,
        "SGLang's request is below the worker's",
    )
    assert {span.service for span in sink.spans(_TRACE)} == {"drover-frontend", "drover-worker", "sglang"}


def test_sglangs_metrics_have_the_models_label(traced: Stack) -> None:
    _ask(traced, "/api/generate", prompt="hello", stream=False, options={"num_predict": 4})

    def counted() -> bool:
        return "sglang:generation_tokens_total" in _page()

    wait_until(counted, _DEADLINE_SECONDS, "SGLang has counted")
    page = _page()
    families = list(text_string_to_metric_families(page))
    assert len({family.name for family in families}) == len(families)
    of_sglang = [family for family in families if family.name.startswith("sglang:")]
    assert all(sample.labels["model"] == "smol:latest" for family in of_sglang for sample in family.samples)
    # Of a child process, and of this one.
    names = {family.name for family in of_sglang}
    assert {"sglang:num_running_reqs", "sglang:time_to_first_token_seconds"} <= names
    assert 'drover_worker_loaded{model="smol:latest"} 1.0' in page


def _page() -> str:
    return httpx.get(f"http://{_METRICS}/metrics", timeout=10).text
