"""A span, as both tiers use it."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from enum import Enum

from opentelemetry.context import Context
from opentelemetry.propagators.textmap import TextMapPropagator
from opentelemetry.trace import Span as SdkSpan
from opentelemetry.trace import SpanKind, Status, StatusCode, Tracer, format_trace_id, set_span_in_context

Attribute = str | int | float | bool | Sequence[str]


class Kind(Enum):
    """`SERVER` and `CLIENT` are the two sides of a call."""

    INTERNAL = SpanKind.INTERNAL
    SERVER = SpanKind.SERVER
    CLIENT = SpanKind.CLIENT


class Span:
    """A span that has begun. Times are unix nanoseconds; one that never ends is not exported."""

    __slots__ = ("_context", "_propagator", "_span", "_tracer")

    def __init__(
        self,
        tracer: Tracer,
        propagator: TextMapPropagator,
        name: str,
        kind: Kind,
        parent: Context,
        attributes: Mapping[str, Attribute] | None = None,
        began_ns: int | None = None,
    ) -> None:
        self._tracer = tracer
        self._propagator = propagator
        self._span: SdkSpan = tracer.start_span(
            name,
            parent,
            kind.value,
            attributes,
            start_time=began_ns,
            record_exception=False,
            set_status_on_exception=False,
        )
        self._context = set_span_in_context(self._span, parent)

    @property
    def is_recording(self) -> bool:
        """False for a span that has ended or was not sampled: attributes of it cost time for nothing."""
        return self._span.is_recording()

    @property
    def trace_id(self) -> str:
        return format_trace_id(self._span.get_span_context().trace_id)

    def carrier(self) -> dict[str, str]:
        """What a callee needs to continue the trace, by header names. Of a span that was not sampled too, so
        that the callee does not sample it either.
        """
        carrier: dict[str, str] = {}
        self._propagator.inject(carrier, self._context)
        return carrier

    def child(
        self,
        name: str,
        kind: Kind = Kind.INTERNAL,
        attributes: Mapping[str, Attribute] | None = None,
        began_ns: int | None = None,
    ) -> Span:
        return Span(self._tracer, self._propagator, name, kind, self._context, attributes, began_ns)

    def add_past(
        self,
        name: str,
        began_ns: int,
        ended_ns: int,
        attributes: Mapping[str, Attribute] | None = None,
        error: str = "",
    ) -> None:
        """Add a child that is over already."""
        child = self.child(name, attributes=attributes, began_ns=began_ns)
        child.end(error, ended_ns=max(began_ns, ended_ns))

    def rename(self, name: str) -> None:
        self._span.update_name(name)

    def add(self, attributes: Mapping[str, Attribute]) -> None:
        self._span.set_attributes(attributes)

    def end(self, error: str = "", ended_ns: int | None = None) -> None:
        """`error`: its type, a constant of the code; empty if the span succeeded. Messages of errors may
        quote what a client sent, so none is recorded.
        """
        if error and self._span.is_recording():
            self._span.set_attribute("error.type", error)
            self._span.set_status(Status(StatusCode.ERROR))
        self._span.end(ended_ns)


class Clock:
    """Turns times of time.perf_counter_ns into unix nanoseconds, steadily within one span."""

    __slots__ = ("_offset_ns",)

    def __init__(self) -> None:
        self._offset_ns = time.time_ns() - time.perf_counter_ns()

    def unix_ns(self, perf_counter_ns: int) -> int:
        return self._offset_ns + perf_counter_ns
