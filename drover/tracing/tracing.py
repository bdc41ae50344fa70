"""Tracing of one process."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence

from opentelemetry.context import Context
from opentelemetry.propagators.textmap import TextMapPropagator
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from drover import __version__
from drover.tracing.export import ReportedExporter
from drover.tracing.span import Attribute, Kind, Span

_FLUSH_SECONDS = 3.0


class Tracing:
    """Begins the spans of a process. The provider is not made OpenTelemetry's global one, so that no library
    adds spans of its own.
    """

    def __init__(
        self,
        provider: TracerProvider,
        propagator: TextMapPropagator | None = None,
        exporters: Sequence[ReportedExporter] = (),
    ) -> None:
        self._exporters = exporters
        self._provider = provider
        self._tracer = provider.get_tracer("drover", __version__)
        self._propagator = propagator or TraceContextTextMapPropagator()

    def begin(
        self,
        name: str,
        kind: Kind,
        carrier: Mapping[str, str],
        attributes: Mapping[str, Attribute] | None = None,
    ) -> Span:
        """Begin a span, in the trace that `carrier` has (by lower-case header names) or in a new one."""
        parent = self._propagator.extract(carrier, Context())
        return Span(self._tracer, self._propagator, name, kind, parent, attributes)

    @property
    def header_names(self) -> frozenset[bytes]:
        """The headers that `begin` reads."""
        return frozenset(name.lower().encode() for name in self._propagator.fields)

    def stop(self, seconds: float = _FLUSH_SECONDS) -> None:
        """Export what has ended, for at most `seconds`: a collector that does not answer would hold the
        process for half a minute. Blocks.
        """
        for exporter in self._exporters:
            exporter.give_up_if_failing()
        flush = threading.Thread(target=self._provider.shutdown, name="flush traces", daemon=True)
        flush.start()
        flush.join(seconds)
