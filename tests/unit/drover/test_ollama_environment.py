"""Ollama's environment variables: precedence and parsing."""

from __future__ import annotations

import logging
from typing import Annotated, ClassVar

import pytest
from annotated_types import Ge
from hypothesis import given
from hypothesis import strategies as st
from pydantic import Field
from pydantic_settings import SettingsConfigDict

from drover.ollama_environment import OllamaVariable, cleaned
from drover.ollama_values import (
    Ignored,
    any_text,
    debug_level,
    duration,
    limit_in_seconds,
    whole_number,
    whole_number_or_default,
)
from drover.settings import CommaList, ProcessSettings


class _Settings(ProcessSettings):
    model_config = SettingsConfigDict(env_prefix="DROVER_TEST_")

    ollama_variables: ClassVar[tuple[OllamaVariable, ...]] = (
        OllamaVariable("OLLAMA_COUNT", "count", whole_number),
        OllamaVariable("OLLAMA_WORDS", "words", any_text),
        OllamaVariable("OLLAMA_DEBUG", "level", debug_level),
    )

    count: Annotated[int, Ge(2)] = 3
    """How many."""
    words: CommaList = Field(default=["one"])
    """Which."""
    level: str = "info"
    """How much."""


def test_ollamas_variable_has_lower_precedence_than_ours(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("OLLAMA_COUNT", "4")
    assert _Settings.load([]).count == 4
    monkeypatch.setenv("DROVER_TEST_COUNT", "5")
    assert _Settings.load([]).count == 5
    assert _Settings.load(["--count", "6"]).count == 6
    assert _Settings(count=7).count == 7


def test_lists_are_not_mixed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OLLAMA_WORDS", "' a, b'")
    assert _Settings.load([]).words == ["a", "b"]
    monkeypatch.setenv("DROVER_TEST_WORDS", "c")
    assert _Settings.load([]).words == ["c"]
    assert _Settings.load(["--words", "d"]).words == ["d"]


@pytest.mark.parametrize("nothing", ["", " ", "''", ' "" '])
def test_an_empty_value_is_ignored(monkeypatch: pytest.MonkeyPatch, nothing: str) -> None:
    monkeypatch.setenv("OLLAMA_COUNT", nothing)
    monkeypatch.setenv("OLLAMA_WORDS", nothing)
    monkeypatch.setenv("OLLAMA_DEBUG", nothing)

    settings = _Settings.load([])

    assert (settings.count, settings.words, settings.level) == (3, ["one"], "info")


def test_an_invalid_number_is_logged_once_and_ignored(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("OLLAMA_COUNT", "many")

    with caplog.at_level(logging.WARNING):
        assert _Settings.load([]).count == 3

    assert caplog.messages == ["OLLAMA_COUNT is ignored: it must be a whole number (it is 'many')"]


def test_an_overridden_variable_is_not_logged(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("OLLAMA_COUNT", "many")

    _Settings.load(["--count", "4"])

    assert not caplog.messages


def test_a_number_that_the_setting_refuses_stops_the_start_under_all_its_names(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("OLLAMA_COUNT", "1")

    with pytest.raises(SystemExit):
        _Settings.load([])

    assert "--count (DROVER_TEST_COUNT) or OLLAMA_COUNT: " in capsys.readouterr().err


def test_other_names_of_ollama_are_ignored_silently(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("OLLAMA_SERVICE_HOST", "10.0.0.1")
    monkeypatch.setenv("ollama_count", "4")

    assert _Settings.load([]).count == 3
    assert not caplog.messages


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("value", "value"),
        (" value ", "value"),
        (" 'value' ", "value"),
        ('"value"', "value"),
        (" ' a ' ", " a "),
    ],
)
def test_spaces_and_quotes_around_a_value_do_not_count(text: str, value: str) -> None:
    assert cleaned(text) == value


@pytest.mark.parametrize("text", ["0", "f", "F", "false", "FALSE", "False"])
def test_false(text: str) -> None:
    assert debug_level(text) is None


@pytest.mark.parametrize("text", ["1", "t", "true", "TRUE", "2", "random", "no", "fALSE"])
def test_any_other_text_is_true(text: str) -> None:
    assert debug_level(text) == "debug"


@pytest.mark.parametrize("text", ["-1", "+1", "0o10", "0x10", "1_000", "1.5", "", "string", "٣", str(2**64)])
def test_invalid_whole_numbers(text: str) -> None:
    with pytest.raises(Ignored):
        whole_number(text)


@given(st.integers(0, 2**64 - 1))
def test_whole_numbers(number: int) -> None:
    assert whole_number(str(number)) == number
    assert whole_number_or_default(str(number)) == (number or None)


@pytest.mark.parametrize("text", ["1d", "???", "1.5", "5 m"])
def test_invalid_durations(text: str) -> None:
    for read in (duration, limit_in_seconds):
        with pytest.raises(Ignored):
            read(text)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("1h2m3s", 3723), ("60", 60), ("500ms", 0.5), ("0", 0), ("-0", 0), ("-1", 0), ("-1m", 0)],
)
def test_a_limit_of_zero_or_less_means_no_limit(text: str, seconds: float) -> None:
    assert limit_in_seconds(text) == seconds
    assert duration(text) == text
