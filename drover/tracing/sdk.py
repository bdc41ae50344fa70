"""The OpenTelemetry SDK from its variables.

The SDK reads by itself: OTEL_EXPORTER_OTLP_* (endpoint, headers, timeout, certificates, compression),
OTEL_BSP_*, OTEL_TRACES_SAMPLER(_ARG), OTEL_RESOURCE_ATTRIBUTES, OTEL_SERVICE_NAME, OTEL_SPAN_*_LIMIT and
OTEL_PROPAGATORS. Its choice of exporters is private (opentelemetry.sdk._configuration), so that is made here,
by the same entry points.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from importlib.metadata import entry_points
from typing import cast

from opentelemetry.propagate import get_global_textmap
from opentelemetry.propagators.textmap import TextMapPropagator
from opentelemetry.sdk.resources import SERVICE_INSTANCE_ID, SERVICE_NAME, SERVICE_VERSION, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from drover import __version__
from drover.tracing.export import ReportedExporter, limit_sdk_logs
from drover.tracing.tracing import Tracing

_GROUP = "opentelemetry_traces_exporter"
_OTLP = "otlp"
# The SDK's default; http/protobuf has another port (4318).
_DEFAULT_PROTOCOL = "grpc"
_BY_PROTOCOL = {"grpc": "otlp_proto_grpc", "http/protobuf": "otlp_proto_http"}
_PROTOCOLS = ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")
_UNKNOWN = "unknown_service"


def start(service: str, exporters: Sequence[str], environment: Mapping[str, str]) -> Tracing:
    """Raises ValueError, with what to do, for a variable that cannot be used."""
    sdk_logs = limit_sdk_logs()
    chosen = [ReportedExporter(_exporter(name, environment), sdk_logs) for name in exporters]
    propagator = _propagator(environment)
    # Without the SDK's exit handler, which waits half a minute for a collector; Tracing.stop flushes.
    provider = TracerProvider(resource=_resource(service), shutdown_on_exit=False)
    for exporter in chosen:
        provider.add_span_processor(BatchSpanProcessor(exporter))
    return Tracing(provider, propagator, chosen)


def _exporter(name: str, environment: Mapping[str, str]) -> SpanExporter:
    """Exporters are what packages register: another one can be installed."""
    registered = _protocol_exporter(environment) if name == _OTLP else name
    for entry in entry_points(group=_GROUP, name=registered):
        try:
            return cast(SpanExporter, entry.load()())
        except (ValueError, OSError, ImportError) as error:
            raise ValueError(f"traces: the exporter {name} cannot start: {error}") from error
    known = ", ".join([_OTLP, *sorted({entry.name for entry in entry_points(group=_GROUP)}), "none"])
    raise ValueError(f"OTEL_TRACES_EXPORTER={name}: no such exporter is installed; use one of: {known}")


def _protocol_exporter(environment: Mapping[str, str]) -> str:
    for name in _PROTOCOLS:
        protocol = environment.get(name, "").strip()
        if protocol in _BY_PROTOCOL:
            return _BY_PROTOCOL[protocol]
        if protocol:
            raise ValueError(f"{name}={protocol}: use grpc (the default) or http/protobuf")
    return _BY_PROTOCOL[_DEFAULT_PROTOCOL]


def _propagator(environment: Mapping[str, str]) -> TextMapPropagator:
    """W3C trace context, without the SDK's default of passing on a client's baggage, which nothing here
    reads.
    """
    if not environment.get("OTEL_PROPAGATORS", "").strip():
        return TraceContextTextMapPropagator()
    return get_global_textmap()


def _resource(service: str) -> Resource:
    """The operator's attributes go before Drover's."""
    own = {SERVICE_VERSION: __version__, SERVICE_INSTANCE_ID: str(uuid.uuid4())}
    chosen = Resource.create()
    if str(chosen.attributes.get(SERVICE_NAME, _UNKNOWN)).startswith(_UNKNOWN):
        return Resource(own).merge(chosen).merge(Resource({SERVICE_NAME: service}))
    return Resource(own).merge(chosen)
