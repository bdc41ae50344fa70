"""SGLang's own spans, which an operator turns on with SGLang's flag --enable-trace.

They are in the trace of Drover's request, whose context it gets as `external_trace_header`. SGLang (0.5.23)
reads OTEL_EXPORTER_OTLP_TRACES_PROTOCOL and OTEL_SERVICE_NAME, but has a flag for the endpoint, whose default
is this machine.
"""

from __future__ import annotations

from collections.abc import Mapping, MutableMapping, Sequence
from importlib.util import find_spec

_ENABLE = "--enable-trace"
_ENDPOINT = "--otlp-traces-endpoint"
_PROTOCOL = "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL"
_HTTP = "http/protobuf"
# Found by a module that only that package has.
_PACKAGES = {
    "opentelemetry-sdk": "opentelemetry.sdk",
    "opentelemetry-exporter-otlp-proto-grpc": "opentelemetry.exporter.otlp.proto.grpc",
    "opentelemetry-exporter-otlp-proto-http": "opentelemetry.exporter.otlp.proto.http",
}


def is_traced(flags: Sequence[str]) -> bool:
    return _ENABLE in _names(flags)


def check_packages(flags: Sequence[str]) -> None:
    """Raises ValueError where SGLang is asked for spans and a package for them is missing."""
    if not is_traced(flags):
        return
    missing = [package for package, module in _PACKAGES.items() if not _is_installed(module)]
    if missing:
        raise ValueError(
            f"{_ENABLE}: SGLang's spans need packages that are not installed: pip install {' '.join(missing)}"
        )


def prepare(flags: Sequence[str], environment: MutableMapping[str, str]) -> None:
    """Let SGLang use the protocol that is set for all signals."""
    protocol = environment.get("OTEL_EXPORTER_OTLP_PROTOCOL", "")
    if is_traced(flags) and protocol:
        environment.setdefault(_PROTOCOL, protocol)


def endpoint_flags(flags: Sequence[str], environment: Mapping[str, str]) -> list[str]:
    """OpenTelemetry's endpoint as SGLang's flag, unless the operator gives that."""
    if not is_traced(flags) or _ENDPOINT in _names(flags):
        return []
    if own := environment.get("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"):
        return [_ENDPOINT, own]
    endpoint = environment.get("OTEL_EXPORTER_OTLP_ENDPOINT", "")
    if not endpoint:
        return []
    path = "/v1/traces" if environment.get(_PROTOCOL) == _HTTP else ""
    return [_ENDPOINT, endpoint.rstrip("/") + path]


def _names(flags: Sequence[str]) -> set[str]:
    return {flag.partition("=")[0] for flag in flags}


def _is_installed(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except ModuleNotFoundError:
        return False
