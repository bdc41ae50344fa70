"""What is a frontend's setting and what is not."""

from __future__ import annotations

import pytest

from frontend.settings import FrontendSettings


def test_defaults() -> None:
    settings = FrontendSettings.load([])

    assert settings.listen == "127.0.0.1:11434"
    assert settings.workers == ["127.0.0.1:50051"]
    assert settings.ollama_version == "0.33.0"
    assert settings.request_timeout_seconds == 0


def test_workers_come_from_the_flag_then_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DROVER_FRONTEND_WORKERS", "one:1, unix:/run/two")
    assert FrontendSettings.load([]).workers == ["one:1", "unix:/run/two"]
    assert FrontendSettings.load(["--workers", "three:3"]).workers == ["three:3"]


@pytest.mark.parametrize(
    ("flag", "value"),
    [
        ("listen", "nowhere"),
        ("listen", "unix:/run/frontend"),  # only gRPC can listen there
        ("workers", "nowhere"),
        ("workers", " , "),
        ("ollama-version", "0.33"),
        ("ollama-version", "v0.33.0"),
        ("max-body-bytes", "0"),
        ("max-output-tokens", "-1"),
        ("request-timeout-seconds", "-1"),
        ("request-timeout-seconds", "nan"),
        ("shutdown-grace-seconds", "86401"),
        ("log-format", "xml"),
        ("log-level", "loud"),
    ],
)
def test_a_wrong_value_is_refused_by_name(flag: str, value: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        FrontendSettings.load([f"--{flag}", value])

    variable = f"DROVER_FRONTEND_{flag.replace('-', '_').upper()}"
    assert ended.value.code == 2
    assert f"--{flag} ({variable})" in capsys.readouterr().err
