"""What is a worker's setting and what is not."""

from __future__ import annotations

import pytest

from engine_worker.settings import WorkerSettings


def test_names_come_as_flags_or_with_commas(monkeypatch: pytest.MonkeyPatch) -> None:
    assert WorkerSettings.load([]).name == []
    assert WorkerSettings.load(["--name", "a:1", "--name", "hf.co/o/b"]).name == ["a:1", "hf.co/o/b"]
    monkeypatch.setenv("DROVER_WORKER_NAME", "a, b")
    assert WorkerSettings.load([]).name == ["a", "b"]
    assert WorkerSettings.load(["--name", "c"]).name == ["c"]


def test_flags_for_sglang_are_words() -> None:
    assert WorkerSettings.load([]).sglang_flags == []
    flags = WorkerSettings.load(["--sglang-args=--tp-size 2 --lora-paths 'a b=/x'"]).sglang_flags
    assert flags == ["--tp-size", "2", "--lora-paths", "a b=/x"]


@pytest.mark.parametrize(
    ("flags", "nanoseconds"),
    [
        ([], 300_000_000_000),
        (["--keep-alive", "1h30m"], 5_400_000_000_000),
        (["--keep-alive", "90"], 90_000_000_000),
        (["--keep-alive", "0"], 0),
        (["--keep-alive=-1"], -1_000_000_000),
    ],
)
def test_keep_alive_is_a_duration_or_seconds(flags: list[str], nanoseconds: int) -> None:
    assert WorkerSettings.load(flags).keep_alive_ns == nanoseconds


@pytest.mark.parametrize(
    ("flag", "value"),
    [
        ("name", "a b"),
        ("engine", "abacus"),
        ("listen", "nowhere"),
        ("task", "sing"),
        ("slots", "0"),
        ("queue-limit", "-1"),
        ("context-length", "-1"),
        ("threads", "many"),
        ("sglang-args", "'open"),
        ("drain-grace-seconds", "-1"),
        ("load-timeout-seconds", "-1"),
        ("keep-alive", "soon"),
        ("sim-token-bytes", "0"),
    ],
)
def test_a_wrong_value_is_refused_by_name(flag: str, value: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        WorkerSettings.load([f"--{flag}", value])

    variable = f"DROVER_WORKER_{flag.replace('-', '_').upper()}"
    assert ended.value.code == 2
    assert f"--{flag} ({variable})" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "value", "field", "read"),
    [
        ("OLLAMA_CONTEXT_LENGTH", "8192", "context_length", 8192),
        ("OLLAMA_CONTEXT_LENGTH", "0", "context_length", None),  # upstream: what the memory allows
        ("OLLAMA_NUM_PARALLEL", "'4'", "slots", 4),
        ("OLLAMA_NUM_PARALLEL", "0", "slots", None),
        ("OLLAMA_NUM_PARALLEL", "many", "slots", None),
        ("OLLAMA_MAX_QUEUE", "7", "queue_limit", 7),
        ("OLLAMA_MAX_QUEUE", "-1", "queue_limit", 512),
        ("OLLAMA_KEEP_ALIVE", "24h", "keep_alive", "24h"),
        ("OLLAMA_KEEP_ALIVE", "-1", "keep_alive", "-1"),
        ("OLLAMA_KEEP_ALIVE", "1d", "keep_alive", "5m"),
        ("OLLAMA_LOAD_TIMEOUT", "10m", "load_timeout_seconds", 600.0),
        ("OLLAMA_LOAD_TIMEOUT", "-1", "load_timeout_seconds", 0.0),
        ("OLLAMA_DEBUG", "1", "log_level", "debug"),
        ("OLLAMA_HOST", "https://ollama.example.com", "listen", "127.0.0.1:50051"),
    ],
)
def test_ollamas_names(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, field: str, read: object
) -> None:
    monkeypatch.setenv(name, value)

    assert getattr(WorkerSettings.load([]), field) == read
