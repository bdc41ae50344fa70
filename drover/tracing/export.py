"""Failures of the export: one line in the log when it begins to fail, and one when it works again.

Spans wait in the SDK's bounded queue (OTEL_BSP_MAX_QUEUE_SIZE), and one thread of the SDK exports them, so
that requests never wait for a collector. The SDK logs each batch that fails and each retry.
"""

from __future__ import annotations

import logging
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence

from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

from drover import logs

_log = logging.getLogger("drover.traces")
_SDK = "opentelemetry"
_EXPORTERS = "opentelemetry.exporter"
# They quote headers that clients sent.
_OF_CLIENTS = ("opentelemetry.trace.", "opentelemetry.baggage", "opentelemetry.propagat")
_REPEAT_SECONDS = 60.0
_MAX_REMEMBERED = 32


class SdkLogs(logging.Handler):
    """The log of the SDK. Messages of its exporters are kept as the reason of a failure, those about a
    client's headers are dropped, and each other message is logged once a minute.
    """

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        super().__init__(logging.WARNING)
        self._now = now
        self._logged: OrderedDict[str, float] = OrderedDict()
        self.reason = ""

    def emit(self, record: logging.LogRecord) -> None:
        if record.name.startswith(_OF_CLIENTS):
            return
        message = record.getMessage()
        if record.name.startswith(_EXPORTERS):
            self.reason = message
        elif self._is_due(str(record.msg)):
            logs.event(_log, record.levelno, "OpenTelemetry reports", report=message)

    def _is_due(self, text: str) -> bool:
        now = self._now()
        if now - self._logged.get(text, -_REPEAT_SECONDS) < _REPEAT_SECONDS:
            return False
        self._logged[text] = now
        self._logged.move_to_end(text)
        if len(self._logged) > _MAX_REMEMBERED:
            self._logged.popitem(last=False)
        return True


def limit_sdk_logs() -> SdkLogs:
    """Take over the SDK's log."""
    sdk = logging.getLogger(_SDK)
    handler = SdkLogs()
    sdk.handlers[:] = [handler]
    sdk.propagate = False
    return handler


class ReportedExporter(SpanExporter):
    """An exporter whose failures are reported once. `export` is called by one thread."""

    def __init__(self, exporter: SpanExporter, sdk_logs: SdkLogs) -> None:
        self._exporter = exporter
        self._sdk_logs = sdk_logs
        self._lost = 0
        self._gave_up = False

    def give_up_if_failing(self) -> None:
        """Before the end of the process: do not wait for a collector that is away."""
        if self._lost:
            self._gave_up = True
            # Ends the wait before another try.
            self._exporter.shutdown()

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        if self._gave_up:
            return SpanExportResult.FAILURE
        try:
            result = self._exporter.export(spans)
        except Exception as error:  # noqa: BLE001 - whatever an exporter raises, requests are not concerned
            self._sdk_logs.reason = f"{type(error).__name__}: {error}"
            result = SpanExportResult.FAILURE
        if result is SpanExportResult.SUCCESS:
            self._report_success()
        else:
            self._report_failure(len(spans))
        return result

    def shutdown(self) -> None:
        self._exporter.shutdown()

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        return self._exporter.force_flush(timeout_millis)

    def _report_failure(self, spans: int) -> None:
        if not self._lost:
            logs.event(
                _log,
                logging.WARNING,
                "traces cannot be exported: spans are dropped until the collector answers "
                "(OTEL_EXPORTER_OTLP_ENDPOINT); requests are served as before",
                reason=self._sdk_logs.reason,
            )
        self._lost += spans

    def _report_success(self) -> None:
        if self._lost:
            logs.event(_log, logging.INFO, "traces are exported again", dropped_spans=self._lost)
            self._lost = 0
