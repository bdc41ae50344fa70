"""Sources of settings, and invalid ones; with a settings class of its own."""

from __future__ import annotations

import sys
from typing import Annotated

import pytest
from annotated_types import Gt
from pydantic import Field, ValidationError
from pydantic_settings import SettingsConfigDict

from drover import __version__
from drover.settings import Address, CommaList, ProcessSettings, check_address, split_address, split_commas


class _Settings(ProcessSettings):
    model_config = SettingsConfigDict(env_prefix="DROVER_TEST_", cli_prog_name="python -m test")

    listen: Address = "127.0.0.1:1"
    """Where."""
    share_count: Annotated[int, Gt(0)] = 3
    """How many."""
    words: CommaList = Field(default=["one"])
    """Which."""
    loud: bool = False
    """Whether."""


def test_precedence_is_flag_environment_default(monkeypatch: pytest.MonkeyPatch) -> None:
    assert _Settings.load([]).share_count == 3
    monkeypatch.setenv("DROVER_TEST_SHARE_COUNT", "4")
    assert _Settings.load([]).share_count == 4
    assert _Settings.load(["--share-count", "5"]).share_count == 5


def test_an_empty_environment_variable_is_ignored(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DROVER_TEST_SHARE_COUNT", "")

    assert _Settings.load([]).share_count == 3


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["--words", "a,b"], ["a", "b"]),
        (["--words", " a , ,b "], ["a", "b"]),
        (["--words", "a", "--words", "b"], ["a", "b"]),
        (["--words", '["a","b"]'], ["a", "b"]),
        (["--words=a"], ["a"]),
    ],
)
def test_a_list_on_the_command_line(argv: list[str], words: list[str]) -> None:
    assert _Settings.load(argv).words == words


@pytest.mark.parametrize(
    ("text", "words"), [("a,b", ["a", "b"]), ('["a", "b"]', ["a", "b"]), ("a", ["a"]), (" , ", [])]
)
def test_a_list_in_the_environment(monkeypatch: pytest.MonkeyPatch, text: str, words: list[str]) -> None:
    monkeypatch.setenv("DROVER_TEST_WORDS", text)

    assert _Settings.load([]).words == words


def test_a_switch_needs_no_value() -> None:
    assert _Settings.load(["--loud"]).loud
    assert not _Settings.load(["--no-loud"]).loud


@pytest.mark.parametrize(
    ("argv", "field", "value"),
    [
        (["--share-count", "0"], "share-count", "0"),
        (["--share-count", "many"], "share-count", "many"),
        (["--listen", "nowhere"], "listen", "nowhere"),
    ],
)
def test_an_invalid_value_exits_and_names_flag_variable_and_value(
    argv: list[str], field: str, value: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        _Settings.load(argv)

    said = capsys.readouterr().err
    assert ended.value.code == 2
    assert f"--{field} (DROVER_TEST_{field.replace('-', '_').upper()})" in said
    assert f"'{value}'" in said
    assert "Traceback" not in said


def test_a_wrong_value_in_the_environment_is_named_too(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("DROVER_TEST_SHARE_COUNT", "-1")

    with pytest.raises(SystemExit) as ended:
        _Settings.load([])

    assert ended.value.code == 2
    assert "--share-count (DROVER_TEST_SHARE_COUNT)" in capsys.readouterr().err


@pytest.mark.parametrize("argv", [["--unknown", "1"], ["--words", '["'], ["stray"]])
def test_an_unknown_flag_exits_with_status_2(argv: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        _Settings.load(argv)

    assert ended.value.code == 2
    assert capsys.readouterr().err


def test_the_version_is_printed_without_a_start(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        _Settings.load(["--version"])

    assert ended.value.code == 0
    assert capsys.readouterr().out == f"drover {__version__}\n"


@pytest.mark.parametrize(
    ("started", "shown"),
    [("/opt/bin/drover-frontend", "drover-frontend"), ("/checkout/frontend/__main__.py", "python -m test")],
)
def test_the_usage_names_the_command_that_was_started(
    started: str, shown: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", [started])

    with pytest.raises(SystemExit):
        _Settings.load(["--help"])

    assert capsys.readouterr().out.startswith(f"usage: {shown} [-h]")


def test_settings_do_not_change_once_loaded() -> None:
    settings = _Settings.load([])

    with pytest.raises(ValidationError, match="frozen"):
        settings.share_count = 4  # type: ignore[misc]  # they are frozen, as this shows


@pytest.mark.parametrize("address", ["host:1", "[::1]:50051", "127.0.0.1:0", "h:65535", "unix:/run/x"])
def test_addresses(address: str) -> None:
    assert check_address(address) == address


@pytest.mark.parametrize(
    "address", ["", "host", ":1", "host:", "host:x", "host:65536", "host:-1", "http://h:1"]
)
def test_invalid_addresses(address: str) -> None:
    with pytest.raises(ValueError, match="host:port"):
        check_address(address)


def test_split_address() -> None:
    assert split_address("[::1]:50051") == ("::1", 50051)
    assert split_address("host:0") == ("host", 0)


def test_ipv6_addresses_in_lists() -> None:
    assert split_commas("[::1]:50051,[::2]:50051") == ["[::1]:50051", "[::2]:50051"]
