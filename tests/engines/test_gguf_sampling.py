"""A GGUF that recommends sampling: what `show` says of it, and what a request still decides."""

from __future__ import annotations

from collections.abc import Iterator

import httpx
import pytest
from gguf import GGUFWriter

from tests.support.processes import Stack, stack
from tests.support.scripted_gguf import THINKING_AND_TOOLS, byte_level, write_scripted

pytestmark = pytest.mark.real_model

# What comes earlier is more likely.
_SCRIPTS = [["Ċ", first] for first in ("b", "c", "d", "e")]


def _recommend(writer: GGUFWriter) -> None:
    writer.add_int32("general.sampling.top_k", 7)
    writer.add_float32("general.sampling.temp", 0.5)
    writer.add_int32("general.sampling.mirostat", 2)
    writer.add_float32("general.sampling.xtc_probability", 1.0)


@pytest.fixture(scope="module")
def recommending(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """Behind a line's end it may say several things; one is the most likely."""
    folder = tmp_path_factory.mktemp("recommending")
    write_scripted(folder / "m.gguf", THINKING_AND_TOOLS, byte_level(), _SCRIPTS, _recommend)
    flags = ("--engine", "llamacpp", "--name", "m", "--slots", "2", "--parameters", '{"temperature": 0.75}')
    with stack(folder, (*flags, "--model", str(folder / "m.gguf"))) as processes:
        yield processes


def test_show_tells_what_the_file_recommends_under_what_the_operator_says(recommending: Stack) -> None:
    shown = httpx.post(f"{recommending.url}/api/show", json={"model": "m"}).json()["parameters"]
    assert {tuple(line.split()) for line in shown.splitlines()} == {("top_k", "7"), ("temperature", "0.75")}


@pytest.mark.parametrize("dialect", ["raw", "chat"])
def test_top_k_counts_whatever_mirostat_the_file_recommends(recommending: Stack, dialect: str) -> None:
    said = set()
    for seed in range(8):
        options = {"seed": seed, "temperature": 2.0, "top_k": 1, "num_predict": 1}
        body = {"model": "m", "stream": False, "options": options}
        if dialect == "raw":
            answer = httpx.post(
                f"{recommending.url}/api/generate", json={**body, "prompt": "a\n", "raw": True}
            )
            said.add(answer.json()["response"])
        else:
            messages = [{"role": "user", "content": "a"}]
            answer = httpx.post(f"{recommending.url}/api/chat", json={**body, "messages": messages})
            said.add(answer.json()["message"]["content"])
    assert said == {"b"}
