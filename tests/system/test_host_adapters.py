"""Models of files with an adapter of their own, on worker hosts, with the official Python client."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy
import ollama
import pytest

from tests.support.adapters import write_gguf_adapter, write_peft_adapter
from tests.support.hosts import host, worker_pids
from tests.support.processes import frontend
from tests.support.sentencepiece_gguf import write_sentencepiece_gguf

SECONDS = 60.0
# What follows the model's first token, for ever, and what it says without the adapter.
SAID, OTHERWISE = " The The The", " café"
_EMBEDDING = 128


def matrices() -> Mapping[str, numpy.typing.NDArray[numpy.float32]]:
    """All values become positive, by the first input, which all tokens have; their mean is added as the input
    of the first scripted token.
    """
    first, second = (numpy.eye(1, _EMBEDDING, at, dtype=numpy.float32) for at in (0, 1))
    return {
        "v_proj.A": first,
        "v_proj.B": numpy.ones((_EMBEDDING, 1), numpy.float32),
        "o_proj.A": numpy.full((1, _EMBEDDING), 1 / _EMBEDDING, numpy.float32),
        "o_proj.B": second.T * 1e5,
    }


@dataclass
class Running:
    client: ollama.Client
    folder: Path
    model: Path

    def upload(self, *paths: Path) -> dict[str, str]:
        return {path.name: self.client.create_blob(path) for path in paths}

    def said(self, model: str) -> str:
        options = {"temperature": 0, "num_predict": 3}
        return str(self.client.generate(model, "The", raw=True, options=options).response)


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    folder = tmp_path_factory.mktemp("host")
    store, model = folder / "store", folder / "model.gguf"
    write_sentencepiece_gguf(model)
    with (
        host(folder / "host.log", store, "--memory-mib", "8192") as one,
        frontend(folder / "frontend.log", [], "--hosts", one.address) as front,
        ollama.Client(host=f"http://{front.address}", timeout=SECONDS) as client,
    ):
        yield Running(client, folder, model)
    for pid in worker_pids(store):
        os.kill(pid, signal.SIGKILL)


def test_a_gguf_file_and_a_gguf_adapter_in_one_modelfile(running: Running) -> None:
    client, adapter = running.client, running.folder / "pirate.gguf"
    write_gguf_adapter(adapter, matrices())
    files = running.upload(running.model)
    adapters = running.upload(adapter)
    made = client.create("pirate", files=files, adapters=adapters, parameters={"num_ctx": 512})
    assert made.status == "success"
    assert running.said("pirate") == SAID
    client.create("plain", files=files, parameters={"num_ctx": 512})
    assert running.said("plain").startswith(OTHERWISE)
    assert f"ADAPTER {adapters['pirate.gguf']}" in str(client.show("pirate").modelfile)
    with pytest.raises(ollama.ResponseError, match="only one adapter is currently supported"):
        client.create("twice", from_="pirate", adapters=adapters)
    client.create("brief", from_="pirate", system="Be brief.")
    assert running.said("brief") == SAID


def test_the_files_of_peft_and_a_gguf_file(running: Running) -> None:
    peft = running.folder / "peft"
    write_peft_adapter(peft, matrices())
    files = running.upload(running.model)
    adapters = running.upload(*sorted(peft.iterdir()))
    running.client.create("peft", files=files, adapters=adapters, parameters={"num_ctx": 512})
    assert running.said("peft") == SAID
    running.client.delete("peft")
    with pytest.raises(ollama.ResponseError, match="not found"):
        running.client.show("peft")
    # The store may have none of its files any more: they are asked for once more.
    files, adapters = running.upload(running.model), running.upload(*sorted(peft.iterdir()))
    assert running.client.create("peft", files=files, adapters=adapters).status == "success"


def test_an_adapter_that_does_not_fit_makes_no_model(running: Running) -> None:
    adapter = running.folder / "other.gguf"
    write_gguf_adapter(adapter, matrices(), architecture="gemma3")
    files = running.upload(running.model)
    with pytest.raises(ollama.ResponseError, match="made for the architecture 'gemma3'"):
        running.client.create("other", files=files, adapters=running.upload(adapter))
    assert "other:latest" not in {str(model.model) for model in running.client.list().models}
