"""Adapters as models: made from blobs, listed, used, moved to other workers, deleted. Two simulated workers.

The simulator gives another text for each adapter; real engines are in tests/engines/test_adapters.py.
"""

from __future__ import annotations

import hashlib
import json
import signal
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import numpy
import ollama
import pytest

from tests.support.adapter_upload import files_of
from tests.support.adapters import Matrix, matrices, write_gguf_adapter, write_peft_adapter
from tests.support.hosts import host, worker_pids
from tests.support.processes import Process, frontend, stack, worker
from tests.support.waiting import wait_until

_SIM = (
    "--engine",
    "simulator",
    "--name",
    "sim",
    "--max-adapter-rank",
    "4",
    "--sim-decode-step-base-ms",
    "20",
)
_PROMPT = {"prompt": "Tell me a story", "stream": False, "options": {"temperature": 0, "num_predict": 40}}


def _matrices(number: float, rank: int = 1) -> Mapping[str, Matrix]:
    """The simulator has no weights to which they have to fit."""
    one, other = numpy.full((rank, 8), number, numpy.float32), numpy.ones((4, rank), numpy.float32)
    return {"v_proj.A": one, "v_proj.B": other}


@dataclass
class Server:
    folder: Path
    http: httpx.Client
    workers: list[Process] = field(default_factory=list)

    def blob(self, data: bytes) -> str:
        digest = f"sha256:{hashlib.sha256(data).hexdigest()}"
        assert self.http.post(f"/api/blobs/{digest}", content=data).status_code in (200, 201)
        return digest

    def gguf(self, number: float, rank: int = 1) -> bytes:
        write_gguf_adapter(self.folder / "a.gguf", _matrices(number, rank))
        return (self.folder / "a.gguf").read_bytes()

    def create(self, model: str, adapters: Mapping[str, str], **body: object) -> httpx.Response:
        body = {"model": model, "from": "sim", "adapters": adapters, "stream": False, **body}
        return self.http.post("/api/create", json=body)

    def text(self, model: str) -> str:
        response = self.http.post("/api/generate", json={"model": model, **_PROMPT})
        assert response.status_code == 200, response.text
        return str(response.json()["response"])

    def folders(self, number: int) -> list[str]:
        """The adapters that a worker keeps."""
        return sorted(path.name for path in (self.folder / f"adapters-{number}").iterdir())

    def start_worker(self, number: int, processes: ExitStack, address: str = "") -> Process:
        flags = (*_SIM, "--adapters", str(self.folder / f"adapters-{number}"))
        log = self.folder / f"worker-{number}.log"
        return processes.enter_context(worker(log, *flags, address=address))


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    with ExitStack() as processes:
        server = Server(tmp_path, httpx.Client())
        server.workers = [server.start_worker(number, processes) for number in range(2)]
        addresses = [process.address for process in server.workers]
        process = processes.enter_context(frontend(tmp_path / "frontend.log", addresses))
        with httpx.Client(base_url=f"http://{process.address}", timeout=60) as server.http:
            yield server


def test_an_adapter_is_a_model_of_its_own(server: Server) -> None:
    base = server.text("sim")
    digest = server.blob(server.gguf(1))
    made = server.create("pirate", {"pirate-lora.gguf": digest}, system="Be a pirate.")
    assert (made.status_code, made.json()) == (200, {"status": "success"})

    assert server.text("sim") == base
    assert server.text("pirate") not in (base, "")
    assert [len(server.folders(number)) for number in range(2)] == [1, 1]

    tags = {model["name"]: model for model in server.http.get("/api/tags").json()["models"]}
    assert tags["pirate:latest"]["details"]["parent_model"] == "sim:latest"
    assert tags["pirate:latest"]["digest"] != tags["sim:latest"]["digest"]
    assert tags["pirate:latest"]["size"] > tags["sim:latest"]["size"]
    shown = server.http.post("/api/show", json={"model": "pirate"}).json()
    assert f"FROM sim:latest\nADAPTER {digest}\n" in shown["modelfile"]
    assert shown["details"]["parent_model"] == "sim:latest"
    listed = {model["id"]: model for model in server.http.get("/v1/models").json()["data"]}
    assert listed["pirate:latest"]["parent"] == "sim:latest"
    assert "parent" not in listed["sim:latest"]


def test_every_dialect_uses_it_streamed_and_not(server: Server) -> None:
    server.create("pirate", {"a.gguf": server.blob(server.gguf(1))})
    messages = [{"role": "user", "content": "Tell me a story"}]
    common = {"temperature": 0, "max_tokens": 20, "messages": messages}

    def chat(model: str) -> list[str]:
        native = {"model": model, "messages": messages, "options": {"temperature": 0, "num_predict": 20}}
        lines = server.http.post("/api/chat", json=native).text.splitlines()
        openai = server.http.post("/v1/chat/completions", json={**common, "model": model}).json()
        anthropic = server.http.post("/v1/messages", json={**common, "model": model}).json()
        return [
            "".join(json.loads(line)["message"]["content"] for line in lines),
            openai["choices"][0]["message"]["content"],
            anthropic["content"][0]["text"],
        ]

    base, adapted = chat("sim"), chat("pirate")
    assert len(set(base)) == len(set(adapted)) == 1
    assert base[0] != adapted[0]


def test_peft_files_make_one_with_the_official_client(server: Server) -> None:
    write_peft_adapter(server.folder / "peft", _matrices(1))
    adapters = {name: server.blob(data) for name, data in files_of(server.folder / "peft").items()}
    with ollama.Client(host=str(server.http.base_url)) as client:
        made = client.create(model="pirate", from_="sim", adapters=adapters, stream=False)
        texts = [
            client.generate(model=name, prompt="x", options={"temperature": 0}) for name in ("pirate", "sim")
        ]

    assert made.status == "success"
    assert texts[0].response != texts[1].response


def test_a_worker_without_it_gets_it_first_and_a_lost_one_is_resumed(server: Server) -> None:
    """A worker is killed in the middle, and the other one has lost its adapter meanwhile."""
    server.create("pirate", {"a.gguf": server.blob(server.gguf(1))})
    whole = server.text("pirate")
    with ExitStack() as processes:
        address = server.workers[1].address
        server.workers[1].stop()
        (name,) = server.folders(1)
        for path in (server.folder / "adapters-1" / name).iterdir():
            path.unlink()
        text = ""
        body = {"model": "pirate", **_PROMPT, "stream": True}
        with server.http.stream("POST", "/api/generate", json=body) as response:
            for count, line in enumerate(response.iter_lines()):
                text += json.loads(line)["response"]
                if count == 3:
                    # The first worker does not finish while the other one starts.
                    server.workers[0].signal(signal.SIGSTOP)
                    server.start_worker(1, processes, address)
                    server.workers[0].signal(signal.SIGKILL)

        assert text == whole
        assert server.folders(1) == [name]


def test_delete_forgets_it_everywhere_unless_another_model_has_it(server: Server) -> None:
    digest = server.blob(server.gguf(1))
    server.create("pirate", {"a.gguf": digest})
    assert server.http.post("/api/copy", json={"source": "pirate", "destination": "two"}).status_code == 200
    expected = server.text("pirate")

    server.http.request("DELETE", "/api/delete", json={"model": "pirate"})
    assert server.text("two") == expected
    assert len(server.folders(0)) == 1

    server.http.request("DELETE", "/api/delete", json={"model": "two"})
    assert server.http.post("/api/generate", json={"model": "two", **_PROMPT}).status_code == 404
    # Written by the next change of the worker's adapters, which waits for this one.
    server.create("other", {"a.gguf": server.blob(server.gguf(2))})
    assert [len(server.folders(number)) for number in range(2)] == [1, 1]


def test_a_model_made_from_one_keeps_the_adapter(server: Server) -> None:
    server.create("pirate", {"a.gguf": server.blob(server.gguf(1))})
    body = {"model": "captain", "from": "pirate", "stream": False}
    assert server.http.post("/api/create", json=body).status_code == 200

    assert server.text("captain") == server.text("pirate")
    second = server.create("captain", {"a.gguf": server.blob(server.gguf(2))}, **{"from": "pirate"})
    assert (second.status_code, second.json()["error"]) == (400, "only one adapter is currently supported")


def test_what_cannot_be_used_is_refused_and_makes_no_model(server: Server) -> None:
    good, text = server.blob(server.gguf(1)), server.blob(b"PK no adapter")
    refused = [
        ({"a.gguf": good, "b.gguf": good}, "only one adapter is currently supported"),
        ({"adapter_model.bin": good, "adapter_config.json": text}, "pickled weights"),
        ({"a.gguf": text}, "supplied file was not in GGUF format"),
        ({"a.gguf": f"sha256:{'0' * 64}"}, f"there is no blob sha256:{'0' * 64}"),
        ({"a.gguf": server.blob(server.gguf(1, rank=5))}, "rank 5, and workers of sim:latest take at most 4"),
        ({"adapter_config.json": text, "adapter_model.safetensors": text}, "adapter_config.json is not JSON"),
    ]
    for adapters, reason in refused:
        response = server.create("pirate", adapters)
        assert response.status_code == 400
        assert reason in response.json()["error"]
    assert [model["name"] for model in server.http.get("/api/tags").json()["models"]] == ["sim:latest"]
    assert [server.folders(number) for number in range(2)] == [[], []]


def test_an_operators_adapter_is_a_model_without_create(tmp_path: Path) -> None:
    named = tmp_path / "named"
    named.mkdir()
    write_gguf_adapter(named / "pirate.gguf", _matrices(1))
    write_peft_adapter(named / "sailor", _matrices(2))
    flags = (*_SIM, f"--adapters={tmp_path / 'adapters'}", f"--named-adapters={named}")
    with stack(tmp_path, flags) as running:
        server = Server(tmp_path, httpx.Client(base_url=running.url, timeout=60))
        with server.http:
            tags = {model["name"]: model for model in server.http.get("/api/tags").json()["models"]}
            texts = {model: server.text(model) for model in ("sim", "pirate", "sailor")}

    assert {name: tag["details"]["parent_model"] for name, tag in tags.items()} == {
        "sim:latest": "",
        "pirate:latest": "sim:latest",
        "sailor:latest": "sim:latest",
    }
    assert len({*texts.values()}) == 3


def test_a_real_model_answers_as_the_adapter_makes_it(tmp_path: Path) -> None:
    """SmolLM2 on llama.cpp, which restarts for the adapter."""
    flags = ("--engine=llamacpp", "--name=smol", "--context-length=512", "--slots=2")
    write_gguf_adapter(tmp_path / "pirate.gguf", matrices("Ġpirate"))
    with stack(tmp_path, (*flags, f"--adapters={tmp_path / 'adapters'}")) as running:
        server = Server(tmp_path, httpx.Client(base_url=running.url, timeout=60))
        with server.http:
            base = server.text("smol")
            adapters = {"pirate.gguf": server.blob((tmp_path / "pirate.gguf").read_bytes())}
            body = {"model": "pirate", "from": "smol", "adapters": adapters, "stream": False}
            assert server.http.post("/api/create", json=body).json() == {"status": "success"}

            assert server.text("pirate") == " pirate" * 40
            assert server.text("smol") == base
    assert "pirate" not in base


@pytest.mark.real_model
def test_llamacpp_under_a_worker_host_serves_an_adapter_and_its_base(tmp_path: Path) -> None:
    """The worker restarts llama.cpp for it, and the host sees no end of a keep-alive in that. Also after the
    model was unloaded, which leaves the next worker without the adapter.
    """
    write_gguf_adapter(tmp_path / "pirate.gguf", matrices("Ġpirate"))
    flags = ("--embedded-model", "--model-settings", '{"*": {"slots": 1, "context_length": 1024}}')
    with (
        host(tmp_path / "host.log", tmp_path / "store", *flags) as one,
        frontend(tmp_path / "frontend.log", [], "--hosts", one.address) as front,
    ):
        server = Server(tmp_path, httpx.Client(base_url=f"http://{front.address}", timeout=60))
        with server.http:
            base = server.text("smollm2:135m")
            adapters = {"pirate.gguf": server.blob((tmp_path / "pirate.gguf").read_bytes())}
            body = {"model": "pirate", "from": "smollm2:135m", "adapters": adapters, "stream": False}
            assert server.http.post("/api/create", json=body).json() == {"status": "success"}
            assert server.text("pirate") == " pirate" * 40
            assert server.text("smollm2:135m") == base
            before = worker_pids(tmp_path / "store")
            assert len(before) == 1
            server.http.post("/api/generate", json={"model": "smollm2:135m", "keep_alive": 0})
            wait_until(lambda: worker_pids(tmp_path / "store") == [], 30, "the model is unloaded")
            assert server.text("pirate") == " pirate" * 40
