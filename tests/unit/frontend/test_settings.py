"""What is a frontend's setting and what is not."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import pytest

from frontend.settings import FrontendSettings


def test_defaults() -> None:
    settings = FrontendSettings.load([])

    assert settings.listen == "127.0.0.1:11434"
    assert settings.workers == ["127.0.0.1:50051"]
    assert settings.ollama_version == "0.40.12"
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


@pytest.mark.parametrize(
    ("name", "value", "field", "read"),
    [
        ("OLLAMA_HOST", "0.0.0.0", "listen", "0.0.0.0:11434"),
        ("OLLAMA_HOST", ' "http://127.0.0.1:8080/" ', "listen", "127.0.0.1:8080"),
        ("OLLAMA_HOST", ":66000", "listen", "0.0.0.0:11434"),
        ("OLLAMA_ORIGINS", "'https://a.example, chrome-extension://*'", "origins", None),
        ("OLLAMA_DEBUG", "yes", "log_level", "debug"),
        ("OLLAMA_DEBUG", "0", "log_level", "info"),
        ("OLLAMA_MODELS", "/models", "listen", "127.0.0.1:11434"),
    ],
)
def test_ollamas_names(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, field: str, read: str | None
) -> None:
    monkeypatch.setenv(name, value)

    expected = read or ["https://a.example", "chrome-extension://*"]
    assert getattr(FrontendSettings.load([]), field) == expected


def test_our_own_name_and_the_flag_beat_ollamas(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OLLAMA_HOST", "https://ollama.example.com")
    monkeypatch.setenv("DROVER_FRONTEND_LISTEN", "127.0.0.1:1")
    assert FrontendSettings.load([]).listen == "127.0.0.1:1"
    assert FrontendSettings.load(["--listen", "127.0.0.1:2"]).listen == "127.0.0.1:2"


@pytest.mark.parametrize("name", ["OLLAMA_ORIGINS", "DROVER_FRONTEND_ORIGINS"])
def test_an_origin_that_could_never_match_stops_the_start(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    monkeypatch.setenv(name, "https://a.example,b.example")

    with pytest.raises(SystemExit):
        FrontendSettings.load([])

    said = capsys.readouterr().err
    assert name in said
    assert "'b.example' is no origin" in said


def test_a_password_is_not_repeated(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        FrontendSettings.load(["--database-url", "mysql://ada:s3cret@db/presets"])

    said = capsys.readouterr().err
    assert "--database-url" in said
    assert "there is no driver for mysql" in said
    assert "s3cret" not in said


@pytest.mark.parametrize("url", ["", "sqlite:////tmp/presets.sqlite3"])
def test_several_frontends_on_sqlite_are_refused(url: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        FrontendSettings.load(["--shared-database", "--database-url", url])

    assert "--shared-database (DROVER_FRONTEND_SHARED_DATABASE): several frontends" in capsys.readouterr().err


def test_several_frontends_on_postgresql_are_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DROVER_FRONTEND_SHARED_DATABASE", "true")
    monkeypatch.setenv("DROVER_FRONTEND_DATABASE_URL", "postgresql://me@host/name")
    assert FrontendSettings.load([]).shared_database


def test_a_wrong_url_is_reported_once(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        FrontendSettings.load(["--shared-database", "--database-url", "mysql://host/name"])

    assert len(capsys.readouterr().err.splitlines()) == 1


def test_presets_are_kept_in_the_users_state_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("XDG_STATE_HOME", raising=False)
    monkeypatch.setenv("HOME", "/home/somebody")
    assert FrontendSettings.load([]).database.database == "/home/somebody/.local/state/drover/presets.sqlite3"
    monkeypatch.setenv("XDG_STATE_HOME", "/state")
    assert FrontendSettings.load([]).database.database == "/state/drover/presets.sqlite3"


def test_a_user_without_a_home_has_a_folder_of_their_own(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def no_home() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("XDG_STATE_HOME", raising=False)
    monkeypatch.setattr(Path, "home", no_home)
    monkeypatch.setattr(tempfile, "gettempdir", lambda: str(tmp_path))
    assert str(os.getuid()) in str(FrontendSettings.load([]).database.database)


@pytest.mark.parametrize(
    "worker",
    ["dns:workers:50051", "k8s:workers.llm:grpc", "unix:/run/worker", "ollama:http://host:1/m#small"],
)
def test_addresses_of_workers(worker: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "10.0.0.1")
    assert FrontendSettings.load(["--workers", worker]).workers == [worker]
