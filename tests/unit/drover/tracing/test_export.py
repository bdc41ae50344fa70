"""A collector that is away or slow: requests go on, and the log has a line, not a flood."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Sequence

import pytest
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult

from drover.tracing.environment import start_tracing
from drover.tracing.export import ReportedExporter, SdkLogs, limit_sdk_logs
from drover.tracing.span import Kind
from drover.tracing.tracing import Tracing
from tests.support.processes import free_port
from tests.support.waiting import wait_until

_SDK = logging.getLogger("opentelemetry.sdk._shared_internal")
_EXPORTER = logging.getLogger("opentelemetry.exporter.otlp.proto.grpc.exporter")


class Collector(SpanExporter):
    def __init__(self, *results: SpanExportResult | Exception) -> None:
        self._results = list(results)

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        result = self._results.pop(0)
        if isinstance(result, Exception):
            raise result
        if result is SpanExportResult.FAILURE:
            _EXPORTER.error("Failed to export traces to %s", "127.0.0.1:4317")
        return result


@pytest.fixture(autouse=True)
def _sdk_logger() -> Iterator[None]:
    logger = logging.getLogger("opentelemetry")
    handlers, propagate = list(logger.handlers), logger.propagate
    yield
    logger.handlers[:] = handlers
    logger.propagate = propagate


def _lines(caplog: pytest.LogCaptureFixture) -> list[tuple[str, str]]:
    return [(record.levelname, record.getMessage()) for record in caplog.records]


def _fields(record: logging.LogRecord) -> dict[str, object]:
    return dict(vars(record)["fields"])


def test_many_failures_are_one_line_and_the_recovery_another(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    failed, passed = SpanExportResult.FAILURE, SpanExportResult.SUCCESS
    results = (passed, failed, failed, OSError("no route"), passed, passed, failed)
    exporter = ReportedExporter(Collector(*results), limit_sdk_logs())
    span = TracerProvider(shutdown_on_exit=False).get_tracer("t").start_span("x")
    assert isinstance(span, ReadableSpan)

    seen = [exporter.export([span, span]) for _ in results]

    assert seen == [passed, failed, failed, failed, passed, passed, failed]
    assert [level for level, _ in _lines(caplog)] == ["WARNING", "INFO", "WARNING"]
    assert "traces cannot be exported" in _lines(caplog)[0][1]
    assert _fields(caplog.records[0]) == {"reason": "Failed to export traces to 127.0.0.1:4317"}
    assert _fields(caplog.records[1]) == {"dropped_spans": 6}


def test_other_reports_of_the_sdk_are_logged_once_a_minute(caplog: pytest.LogCaptureFixture) -> None:
    now = [0.0]
    handler = SdkLogs(lambda: now[0])
    record = _SDK.makeRecord(_SDK.name, logging.WARNING, "", 0, "Queue full, dropping %s.", ("Span",), None)
    for seconds in (0.0, 1.0, 59.0, 60.0, 61.0):
        now[0] = seconds
        handler.handle(record)

    assert [_fields(each)["report"] for each in caplog.records] == ["Queue full, dropping Span."] * 2


def test_nothing_of_the_sdk_reaches_the_log_by_itself(caplog: pytest.LogCaptureFixture) -> None:
    limit_sdk_logs()
    limit_sdk_logs()
    for _ in range(5):
        _EXPORTER.warning("Transient error, retrying")
    assert _lines(caplog) == []


@pytest.mark.parametrize("tracestate", ["sk-secret value", "sk-secret" * 40, "a=b,sk-secret", "x" * 60_000])
def test_what_a_client_sent_is_not_in_the_log(tracestate: str, caplog: pytest.LogCaptureFixture) -> None:
    limit_sdk_logs()
    carrier = {
        "traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        "tracestate": tracestate,
    }
    span = Tracing(TracerProvider(shutdown_on_exit=False)).begin("x", Kind.SERVER, carrier)

    assert "sk-secret" not in caplog.text
    assert caplog.records == []
    assert "tracestate" not in span.carrier()
    assert span.trace_id == "0af7651916cd43dd8448eb211c80319c"


def test_without_a_collector_spans_end_at_once_and_the_stop_is_bounded(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    environment = {
        "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{free_port()}",
        "OTEL_BSP_SCHEDULE_DELAY": "10",
        "OTEL_BSP_MAX_QUEUE_SIZE": "64",
        "OTEL_BSP_MAX_EXPORT_BATCH_SIZE": "8",
    }
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    tracing = start_tracing("a", environment)
    assert tracing is not None
    began = time.monotonic()
    for _ in range(2000):
        tracing.begin("x", Kind.SERVER, {}).end()
    took_seconds = time.monotonic() - began
    began = time.monotonic()
    tracing.stop(0.3)

    assert took_seconds < 2.0
    assert time.monotonic() - began < 2.0


class Counter(SpanExporter):
    def __init__(self) -> None:
        self.exported = 0

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        self.exported += len(spans)
        return SpanExportResult.SUCCESS


def test_the_stop_exports_what_has_ended() -> None:
    exporter = Counter()
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(BatchSpanProcessor(exporter, schedule_delay_millis=60_000))
    tracing = Tracing(provider)
    for _ in range(3):
        tracing.begin("x", Kind.SERVER, {}).end()
    assert exporter.exported == 0

    tracing.stop()

    wait_until(lambda: exporter.exported == 3, 30, "they are exported")
