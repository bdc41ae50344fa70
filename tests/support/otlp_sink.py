"""A collector for tests: it keeps the spans that processes export by OTLP over gRPC."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field

import grpc
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2 as service
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2_grpc as service_grpc
from opentelemetry.proto.trace.v1 import trace_pb2

ERROR = trace_pb2.Status.STATUS_CODE_ERROR


@dataclass(frozen=True, slots=True)
class SinkSpan:
    """A span with the name of the service that made it. Times are unix nanoseconds."""

    service: str
    name: str
    trace_id: str
    span_id: str
    parent_id: str
    began_ns: int
    ended_ns: int
    failed: bool
    attributes: dict[str, object] = field(hash=False)


class OtlpSink(service_grpc.TraceServiceServicer):
    """Implements OTLP's TraceService."""

    def __init__(self) -> None:
        self.address = ""
        self.headers: list[dict[str, str]] = []
        self.payloads: list[bytes] = []
        """All that was exported, as it came."""
        self._lock = threading.Lock()
        self._spans: list[SinkSpan] = []

    def Export(
        self, request: service.ExportTraceServiceRequest, context: grpc.ServicerContext
    ) -> service.ExportTraceServiceResponse:
        metadata = {str(key): str(value) for key, value in context.invocation_metadata()}
        found = [
            _span(span, _attributes(resource.resource.attributes))
            for resource in request.resource_spans
            for scope in resource.scope_spans
            for span in scope.spans
        ]
        with self._lock:
            self.headers.append(metadata)
            self.payloads.append(request.SerializeToString())
            self._spans.extend(found)
        return service.ExportTraceServiceResponse()

    def spans(self, trace_id: str = "") -> list[SinkSpan]:
        """In the order of their beginnings."""
        with self._lock:
            found = [span for span in self._spans if trace_id in ("", span.trace_id)]
        return sorted(found, key=lambda span: span.began_ns)

    def named(self, name: str, trace_id: str = "") -> list[SinkSpan]:
        return [span for span in self.spans(trace_id) if span.name == name]


@contextmanager
def otlp_sink() -> Iterator[OtlpSink]:
    sink = OtlpSink()
    server = grpc.server(ThreadPoolExecutor(2))
    service_grpc.add_TraceServiceServicer_to_server(sink, server)  # type: ignore[no-untyped-call]
    sink.address = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    server.start()
    try:
        yield sink
    finally:
        server.stop(None).wait()


def _span(span: trace_pb2.Span, resource: dict[str, object]) -> SinkSpan:
    return SinkSpan(
        service=str(resource["service.name"]),
        name=span.name,
        trace_id=span.trace_id.hex(),
        span_id=span.span_id.hex(),
        parent_id=span.parent_span_id.hex(),
        began_ns=span.start_time_unix_nano,
        ended_ns=span.end_time_unix_nano,
        failed=span.status.code == ERROR,
        attributes=_attributes(span.attributes),
    )


def _attributes(pairs: object) -> dict[str, object]:
    found: dict[str, object] = {}
    for pair in pairs:  # type: ignore[attr-defined]  # a repeated field
        kind = pair.value.WhichOneof("value")
        value = getattr(pair.value, kind)
        found[pair.key] = [each.string_value for each in value.values] if kind == "array_value" else value
    return found
