"""Secrets of keys do not reach the logs, wherever a client put them."""

from __future__ import annotations

import logging

import pytest

from drover import logs
from drover.errors import ModelNotFound
from drover.redaction import redacted
from frontend.access.secret import new_id, new_secret
from frontend.settings import FrontendSettings


def test_what_a_key_is_made_of_is_taken_out_but_for_its_id() -> None:
    key_id = new_id()
    secret = new_secret(key_id)
    assert redacted(f"GET /api/{secret}?key={secret}") == f"GET /api/drv_{key_id}_***?key=drv_{key_id}_***"


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("postgresql://drover:hunter2@db/drover", "postgresql://drover:***@db/drover"),
        ("'ollama:http://u:hunter2@gpu/m' is no model", "'ollama:http://u:***@gpu/m' is no model"),
        ("http://:hunter2@[::1]:4317", "http://:***@[::1]:4317"),
    ],
)
def test_the_password_of_a_url_is_taken_out(text: str, kept: str) -> None:
    assert redacted(text) == kept


def test_a_setting_that_is_refused_shows_no_password(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        FrontendSettings.load(["--workers", "ollama:http://u:hunter2@gpu/m"])
    shown = capsys.readouterr().err
    assert "--workers" in shown
    assert "http://u:***@gpu/m" in shown
    assert "hunter2" not in shown


@pytest.mark.parametrize(
    "text",
    [
        *("", "model drv_x not found", "drv_", "an answer", "drv_a_short"),
        *("http://host:80/a@b", "http://me@host", "see http://x: it says a@b"),
    ],
)
def test_other_text_stays(text: str) -> None:
    assert redacted(text) == text


def test_no_error_quotes_a_secret() -> None:
    secret = new_secret(new_id())
    error = ModelNotFound(f"model '{secret}' not found")
    assert secret not in error.message
    assert secret not in str(error)


@pytest.mark.parametrize("log_format", ["json", "text"])
def test_no_line_of_the_log_has_a_secret(
    capsys: pytest.CaptureFixture[str], log_format: logs.LogFormat
) -> None:
    secret = new_secret(new_id())
    root = logging.getLogger()
    before, level = root.handlers, root.level
    try:
        logs.configure(log_format, "debug")
        logs.event(logging.getLogger("x"), logging.INFO, "request", path=f"/api/{secret}", names=[secret])
        logging.getLogger("y").warning("got %s", secret, exc_info=ValueError(secret))
    finally:
        root.handlers = before
        root.setLevel(level)
        logging.captureWarnings(False)

    written = capsys.readouterr().err
    assert written.count("***") >= 4
    assert secret not in written
