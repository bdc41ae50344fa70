"""Whether tracing is configured, by OpenTelemetry's own variables. Imports nothing of OpenTelemetry."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from drover.tracing.tracing import Tracing

_ENDPOINTS = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
_OTLP = "otlp"


def exporters_of(environment: Mapping[str, str]) -> list[str]:
    """The exporters to use; none if tracing is off.

    OpenTelemetry's default without any variable is an OTLP collector on this machine. Here an endpoint or an
    exporter has to be named, since most processes run without a collector.
    """
    if environment.get("OTEL_SDK_DISABLED", "").strip().lower() == "true":
        return []
    named = environment.get("OTEL_TRACES_EXPORTER", "").strip()
    if not named:
        return [_OTLP] if any(environment.get(name, "").strip() for name in _ENDPOINTS) else []
    names = [name.strip() for name in named.split(",") if name.strip()]
    return [] if "none" in (name.lower() for name in names) else names


def start_tracing(service: str, environment: Mapping[str, str]) -> Tracing | None:
    """Start the SDK if tracing is configured. `service`: the default of OTEL_SERVICE_NAME.

    `environment` is the process's, which the SDK reads by itself. Raises ValueError, with what to do, for a
    variable that cannot be used.
    """
    exporters = exporters_of(environment)
    if not exporters:
        return None
    # Imported here: 50 ms and 3 MB that a process without traces does not spend.
    from drover.tracing.sdk import start

    return start(service, exporters, environment)
