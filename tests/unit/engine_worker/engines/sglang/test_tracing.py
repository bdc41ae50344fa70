"""SGLang's own spans: where they are sent, and what they need."""

from __future__ import annotations

import pytest

from engine_worker.engines.sglang.upstream import tracing

_FLAGS = ("--tp-size", "2", "--enable-trace")
_ENDPOINT = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://collector:4317/"}


@pytest.mark.parametrize(
    ("flags", "environment", "added"),
    [
        ((), _ENDPOINT, []),
        (_FLAGS, {}, []),
        (_FLAGS, _ENDPOINT, ["--otlp-traces-endpoint", "http://collector:4317"]),
        (
            _FLAGS,
            {**_ENDPOINT, "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://other:1"},
            ["--otlp-traces-endpoint", "http://other:1"],
        ),
        ((*_FLAGS, "--otlp-traces-endpoint", "mine:1"), _ENDPOINT, []),
        ((*_FLAGS, "--otlp-traces-endpoint=mine:1"), _ENDPOINT, []),
        (
            _FLAGS,
            {
                "OTEL_EXPORTER_OTLP_ENDPOINT": "http://collector:4318",
                "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf",
            },
            ["--otlp-traces-endpoint", "http://collector:4318/v1/traces"],
        ),
    ],
)
def test_opentelemetrys_endpoint_is_sglangs_too(
    flags: tuple[str, ...], environment: dict[str, str], added: list[str]
) -> None:
    environment = dict(environment)
    tracing.prepare(flags, environment)
    assert tracing.endpoint_flags(flags, environment) == added


def test_a_protocol_for_traces_is_kept() -> None:
    environment = {
        "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL": "grpc",
        "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf",
    }
    tracing.prepare(_FLAGS, environment)
    assert environment["OTEL_EXPORTER_OTLP_TRACES_PROTOCOL"] == "grpc"


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    tracing.check_packages(_FLAGS)
    monkeypatch.setattr(tracing, "_PACKAGES", {"opentelemetry-sdk": "no_such.module", "other": "json"})
    with pytest.raises(ValueError, match=r"--enable-trace: .*: pip install opentelemetry-sdk$"):
        tracing.check_packages(_FLAGS)
    tracing.check_packages(("--tp-size", "2"))
