"""Tracing whose spans stay in memory, for tests in one process."""

from __future__ import annotations

from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import Sampler
from opentelemetry.trace import StatusCode

from drover.tracing.tracing import Tracing


class SpanMemory:
    """`tracing`, and the spans that have ended."""

    def __init__(self, sampler: Sampler | None = None) -> None:
        self._exporter = InMemorySpanExporter()
        provider = TracerProvider(sampler=sampler, shutdown_on_exit=False)
        provider.add_span_processor(SimpleSpanProcessor(self._exporter))
        self.tracing = Tracing(provider)

    @property
    def spans(self) -> list[ReadableSpan]:
        """In the order of their beginnings."""
        return sorted(self._exporter.get_finished_spans(), key=lambda span: span.start_time or 0)

    def one(self, name: str) -> ReadableSpan:
        (span,) = [span for span in self.spans if span.name == name]
        return span

    def tree(self) -> list[str]:
        """Each span as `parent/name`, with `!` and the type of its error where it failed."""
        names = {span.context.span_id: span.name for span in self.spans}
        return [
            f"{names.get(span.parent.span_id, '') if span.parent else ''}/{span.name}{error_of(span)}"
            for span in self.spans
        ]


def error_of(span: ReadableSpan) -> str:
    attributes = span.attributes or {}
    return f"!{attributes['error.type']!s}" if span.status.status_code is StatusCode.ERROR else ""
