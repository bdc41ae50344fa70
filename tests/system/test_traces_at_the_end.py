"""The end of a process that traces: what it has is exported, and a collector that is away delays nothing."""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from tests.support.otlp_sink import otlp_sink
from tests.support.processes import Stack, free_port, stack
from tests.system.conftest import SIMULATOR

_TRACE = "0af7651916cd43dd8448eb211c80319c"
_HEADERS = {"traceparent": f"00-{_TRACE}-b7ad6b7169203331-01"}
_BODY = {"model": "sim", "messages": [{"role": "user", "content": "hello"}], "stream": False}
_FLUSH_SECONDS = 3.0
# Of a process without traces, on a busy machine.
_EXIT_SECONDS = 6.0


@contextmanager
def _running(folder: Path, settings: Mapping[str, str]) -> Iterator[Stack]:
    with pytest.MonkeyPatch.context() as environment:
        for name, value in settings.items():
            environment.setenv(name, value)
        with stack(folder, SIMULATOR) as running:
            yield running


def _reports(log: Path) -> list[dict[str, object]]:
    lines = [json.loads(line) for line in log.read_text().splitlines() if line.startswith("{")]
    return [line for line in lines if line["logger"] == "drover.traces"]


def test_a_drain_exports_what_has_ended(tmp_path: Path) -> None:
    with otlp_sink() as sink:
        settings = {
            "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://{sink.address}",
            "OTEL_BSP_SCHEDULE_DELAY": "600000",
            "OTEL_SERVICE_NAME": "mine",
        }
        with _running(tmp_path, settings) as running:
            httpx.post(f"{running.url}/api/chat", json=_BODY, headers=_HEADERS, timeout=20)
            assert sink.spans() == []
            for process in (running.frontend, running.worker):
                process.signal(signal.SIGTERM)
                assert process.wait() == 0
        names = {span.name for span in sink.spans(_TRACE)}

    assert names == {"POST /api/chat", "attempt", "generate", "prefill", "decode"}
    assert {span.service for span in sink.spans()} == {"mine"}


@pytest.mark.parametrize("protocol", ["grpc", "http/protobuf"])
def test_without_a_collector_requests_are_served_and_the_log_has_one_line(
    protocol: str, tmp_path: Path
) -> None:
    settings = {
        "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{free_port()}",
        "OTEL_EXPORTER_OTLP_PROTOCOL": protocol,
        "OTEL_EXPORTER_OTLP_TIMEOUT": "1",
        "OTEL_BSP_SCHEDULE_DELAY": "50",
        "OTEL_BSP_MAX_EXPORT_BATCH_SIZE": "1",
    }
    with _running(tmp_path, settings) as running:
        with httpx.Client(base_url=running.url, timeout=20) as http:
            answers = [http.post("/api/chat", json=_BODY).json() for _ in range(10)]
        assert all(answer["done"] for answer in answers)
        for process in (running.frontend, running.worker):
            began = time.monotonic()
            process.signal(signal.SIGTERM)
            assert process.wait() == 0
            assert time.monotonic() - began < _FLUSH_SECONDS + _EXIT_SECONDS
            (report,) = _reports(process.log)
            assert str(report["message"]).startswith("traces cannot be exported")
            assert report["reason"]
