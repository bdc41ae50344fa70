"""When tracing is on, by OpenTelemetry's variables, and what of the SDK they choose."""

from __future__ import annotations

import subprocess
import sys

import pytest
from opentelemetry.sdk.resources import Resource

from drover.tracing import sdk
from drover.tracing.environment import exporters_of, start_tracing
from drover.tracing.span import Kind
from drover.tracing.tracing import Tracing

_ENDPOINT = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9"}


@pytest.mark.parametrize(
    ("environment", "exporters"),
    [
        ({}, []),
        ({"OTEL_SERVICE_NAME": "a", "OTEL_TRACES_SAMPLER": "always_on"}, []),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": ""}, []),
        (_ENDPOINT, ["otlp"]),
        ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://127.0.0.1:9"}, ["otlp"]),
        ({"OTEL_EXPORTER_OTLP_METRICS_ENDPOINT": "http://127.0.0.1:9"}, []),
        ({"OTEL_TRACES_EXPORTER": "otlp"}, ["otlp"]),
        ({"OTEL_TRACES_EXPORTER": "console, otlp"}, ["console", "otlp"]),
        ({**_ENDPOINT, "OTEL_TRACES_EXPORTER": "none"}, []),
        ({**_ENDPOINT, "OTEL_SDK_DISABLED": "true"}, []),
        ({**_ENDPOINT, "OTEL_SDK_DISABLED": "TRUE "}, []),
        ({**_ENDPOINT, "OTEL_SDK_DISABLED": "false"}, ["otlp"]),
    ],
)
def test_an_endpoint_or_an_exporter_turns_tracing_on(
    environment: dict[str, str], exporters: list[str]
) -> None:
    assert exporters_of(environment) == exporters


def test_without_them_the_sdk_is_not_imported() -> None:
    code = (
        "import sys; import frontend.__main__, engine_worker.__main__;"
        "from drover.tracing.environment import start_tracing; assert start_tracing('a', {}) is None;"
        "print([name for name in sys.modules if name.startswith('opentelemetry.sdk')"
        " or name.startswith('opentelemetry.exporter') or name.startswith('drover.tracing.')])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "['drover.tracing.environment']"


@pytest.mark.parametrize(
    ("environment", "words"),
    [
        (
            {"OTEL_TRACES_EXPORTER": "zipkin"},
            "OTEL_TRACES_EXPORTER=zipkin: no such exporter is installed",
        ),
        (
            {**_ENDPOINT, "OTEL_EXPORTER_OTLP_PROTOCOL": "http/json"},
            r"OTEL_EXPORTER_OTLP_PROTOCOL=http/json: use grpc \(the default\) or http/protobuf",
        ),
        (
            {**_ENDPOINT, "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL": "udp"},
            "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL=udp: use grpc",
        ),
    ],
)
def test_a_variable_that_cannot_be_used_is_an_error_of_the_start(
    environment: dict[str, str], words: str
) -> None:
    with pytest.raises(ValueError, match=words):
        start_tracing("a", environment)


@pytest.fixture
def _environment(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> None:
    for name, value in request.param.items():
        monkeypatch.setenv(name, value)


@pytest.mark.parametrize(
    ("_environment", "name", "more"),
    [
        ({}, "drover-frontend", {}),
        ({"OTEL_SERVICE_NAME": "edge"}, "edge", {}),
        (
            {"OTEL_RESOURCE_ATTRIBUTES": "deployment.environment.name=test,service.instance.id=one"},
            "drover-frontend",
            {"deployment.environment.name": "test", "service.instance.id": "one"},
        ),
        ({"OTEL_RESOURCE_ATTRIBUTES": "service.name=attribute"}, "attribute", {}),
    ],
    indirect=["_environment"],
)
@pytest.mark.usefixtures("_environment")
def test_the_operators_resource_attributes_go_first(name: str, more: dict[str, str]) -> None:
    resource: Resource = sdk._resource("drover-frontend")
    assert resource.attributes["service.name"] == name
    assert {key: resource.attributes[key] for key in more} == more
    assert resource.attributes["service.instance.id"]


@pytest.mark.parametrize(
    ("protocol", "module"),
    [("", "proto.grpc"), ("grpc", "proto.grpc"), ("http/protobuf", "proto.http")],
)
def test_the_protocol_chooses_the_exporter(protocol: str, module: str) -> None:
    exporter = sdk._exporter("otlp", {"OTEL_EXPORTER_OTLP_PROTOCOL": protocol})
    assert module in type(exporter).__module__
    exporter.shutdown()


@pytest.mark.parametrize(
    "_environment", [{"OTEL_TRACES_SAMPLER": "always_off", "OTEL_TRACES_EXPORTER": "console"}], indirect=True
)
@pytest.mark.usefixtures("_environment")
def test_the_sampler_is_the_operators() -> None:
    tracing = start_tracing("a", {"OTEL_TRACES_EXPORTER": "console"})
    assert isinstance(tracing, Tracing)
    span = tracing.begin("x", Kind.SERVER, {})
    assert not span.is_recording
    assert int(span.carrier()["traceparent"].rpartition("-")[2], 16) & 1 == 0
    tracing.stop()
