"""Models from and to the real docker-registry, with the official Python client, over both tiers."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import ollama
import pytest

from engine_worker.host.store.manifest import LICENSE, MODEL, PARAMETERS, SYSTEM
from tests.clients import go_requests
from tests.clients.go_client import GoClient, GoStatusError
from tests.clients.go_types import PROGRESS
from tests.support.docker_registry import PASSWORD, USER, docker_registry, put_model
from tests.support.hosts import host, worker_pids
from tests.support.processes import frontend
from tests.support.sentencepiece_gguf import write_sentencepiece_gguf

SECONDS = 30.0
PULLED = "tiny:1m"
MADE = "registry.example/team/made:latest"
PRIVATE = "private.example/team/made:latest"


@pytest.fixture(scope="module")
def gguf(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("gguf") / "tiny.gguf"
    write_sentencepiece_gguf(path)
    return path.read_bytes()


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory, gguf: bytes) -> Iterator[str]:
    """Has one model in Ollama's form."""
    with docker_registry(tmp_path_factory.mktemp("registry")) as url:
        parameters = json.dumps({"temperature": 0, "num_ctx": 256}).encode()
        layers = {MODEL: gguf, SYSTEM: b"Be brief.", PARAMETERS: parameters, LICENSE: b"Apache-2.0"}
        put_model(url, "library/tiny", "1m", layers)
        yield url


@pytest.fixture(scope="module")
def private_registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with docker_registry(tmp_path_factory.mktemp("private"), private=True) as url:
        yield url


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of the host, with its log."""
    return tmp_path_factory.mktemp("host")


@contextmanager
def running(folder: Path, registry: str, private_registry: str) -> Iterator[ollama.Client]:
    store = folder / "store"
    sources = f"registry.ollama.ai={registry},registry.example={registry},private.example={private_registry}"
    with (
        _credentials_in(folder),
        host(folder / "host.log", store, "--sources", sources, "--memory-mib", "4096") as one,
        frontend(folder / "frontend.log", [], "--hosts", one.address) as front,
        ollama.Client(host=f"http://{front.address}", timeout=SECONDS) as client,
    ):
        yield client
    for pid in worker_pids(store):
        os.kill(pid, signal.SIGKILL)


@contextmanager
def _credentials_in(folder: Path) -> Iterator[None]:
    """Where processes look for them that are started now."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DOCKER_CONFIG", str(folder))
        yield


@pytest.fixture(scope="module")
def client(folder: Path, registry: str, private_registry: str) -> Iterator[ollama.Client]:
    with running(folder, registry, private_registry) as client:
        yield client


def names(client: ollama.Client) -> set[str]:
    return {str(model.model) for model in client.list().models}


def test_a_model_of_the_registry_is_pulled_shown_used_and_deleted(client: ollama.Client, gguf: bytes) -> None:
    steps = list(client.pull(PULLED, stream=True))
    assert [step.status for step in steps][:1] == ["pulling manifest"]
    assert [step.status for step in steps][-3:] == ["verifying sha256 digest", "writing manifest", "success"]
    weights = [step for step in steps if step.total == len(gguf)]
    assert weights[-1].completed == len(gguf)
    assert PULLED in names(client)

    shown = client.show(PULLED)
    assert (shown.license, shown.modelfile is not None) == ("Apache-2.0", True)
    assert shown.parameters is not None
    assert shown.parameters.split() == ["num_ctx", "256", "temperature", "0"]
    assert shown.capabilities is not None
    assert "completion" in shown.capabilities
    assert shown.modelinfo is not None
    assert shown.modelinfo["general.architecture"] == "llama"
    url = str(client._client.base_url)
    verbose = httpx.post(f"{url}/api/show", json={"model": PULLED, "verbose": True}, timeout=SECONDS).json()
    assert "token_embd.weight" in {tensor["name"] for tensor in verbose["tensors"]}
    assert "<unk>" in verbose["model_info"]["tokenizer.ggml.tokens"]
    assert verbose["system"] == "Be brief."
    # All that without loading it.
    assert client.ps().models == []

    answer = client.generate(PULLED, "Hello", options={"num_predict": 4})
    assert (answer.eval_count, answer.done) == (4, True)
    (loaded,) = client.ps().models
    assert (loaded.model, loaded.context_length) == (PULLED, 256)
    # The same as before the load.
    again = client.show(PULLED)
    assert (again.license, again.parameters) == (shown.license, shown.parameters)

    assert client.delete(PULLED).status == "success"
    assert PULLED not in names(client)


def test_a_model_of_uploaded_files_is_pushed_and_pulled_again(
    client: ollama.Client, registry: str, tmp_path: Path, gguf: bytes
) -> None:
    path = tmp_path / "tiny.gguf"
    path.write_bytes(gguf)
    files = {"tiny.gguf": client.create_blob(path)}
    messages = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}]
    made = list(client.create(MADE, files=files, system="Be kind.", messages=messages, stream=True))
    assert made[-1].status == "success"
    assert MADE in names(client)

    steps = list(client.push(MADE, stream=True))
    assert [steps[0].status, steps[-2].status, steps[-1].status] == [
        "retrieving manifest",
        "pushing manifest",
        "success",
    ]
    sent = [step for step in steps if step.total == len(gguf)]
    assert sent[-1].completed == len(gguf)
    client.delete(MADE)
    assert MADE not in names(client)
    assert client.pull(MADE).status == "success"
    assert "MESSAGE user Hi\nMESSAGE assistant Hello\n" in str(client.show(MADE).modelfile)
    # What the registry has is not sent again.
    again = client.push(MADE)
    assert again.status == "success"


def test_a_copy_is_pushed_and_stays_without_the_first_one(
    client: ollama.Client, tmp_path: Path, gguf: bytes
) -> None:
    """`ollama cp mine registry/team/mine`, `ollama push`, and a renamed model: `cp`, then `rm`."""
    path, copied = tmp_path / "tiny.gguf", "registry.example/team/copied:latest"
    path.write_bytes(gguf)
    client.create("first", files={"tiny.gguf": client.create_blob(path)}, system="Be kind.")
    assert client.copy("first", copied).status == "success"
    assert client.delete("first").status == "success"
    assert {"first:latest", copied} & names(client) == {copied}
    shown = client.show(copied)
    assert shown.details is not None
    assert not shown.details.parent_model
    assert client.generate(copied, "Hello", options={"num_predict": 4}).eval_count == 4
    assert client.push(copied).status == "success"
    client.delete(copied)
    assert copied not in names(client)


def test_pulls_and_pushes_that_are_refused(client: ollama.Client) -> None:
    with pytest.raises(ollama.ResponseError, match="file does not exist"):
        client.pull("tiny:unknown")
    with pytest.raises(ollama.ResponseError, match=r"pulls nothing from elsewhere\.example"):
        client.pull("elsewhere.example/team/model")
    with pytest.raises(ollama.ResponseError, match="not found"):
        client.push("registry.example/team/unknown")


def test_the_cli_makes_a_model_of_a_modelfile_with_a_local_file(client: ollama.Client, gguf: bytes) -> None:
    """`ollama create -f` by the bytes of the CLI: the file goes as a blob, then what the Modelfile says."""
    content = gguf + b"of the CLI"
    digest = f"sha256:{hashlib.sha256(content).hexdigest()}"
    cli = GoClient(f"{client._client.base_url.host}:{client._client.base_url.port}")
    try:
        cli.do("HEAD", "/")
        with pytest.raises(GoStatusError):
            cli.do("HEAD", f"/api/blobs/{digest}")
        assert cli.upload(f"/api/blobs/{digest}", content) == 201
        body = go_requests.create(
            "local", files={"tiny.gguf": digest}, system="Be brief.", parameters={"num_ctx": 128}
        )
        assert list(cli.stream("/api/create", body, PROGRESS))[-1]["status"] == "success"
    finally:
        cli.close()
    shown = client.show("local")
    assert shown.parameters is not None
    assert shown.parameters.split() == ["num_ctx", "128"]
    assert "SYSTEM Be brief." in str(shown.modelfile)


def test_what_cannot_be_made_of_a_stored_model(
    client: ollama.Client, tmp_path: Path, gguf: bytes, registry: str
) -> None:
    path = tmp_path / "tiny.gguf"
    path.write_bytes(gguf)
    digest = client.create_blob(path)
    with pytest.raises(ollama.ResponseError, match="quantization is only supported"):
        client.create("small", files={"tiny.gguf": digest}, quantize="q4_K_M")
    client.create(MADE, files={"tiny.gguf": digest})
    for more, words in (
        ({"files": {"tiny.gguf": digest}}, "not an adapter"),
        ({"from_": MADE}, "not an adapter"),
    ):
        with pytest.raises(ollama.ResponseError, match=words):
            client.create("adapted", adapters={"adapter.gguf": digest}, **more)
    assert "adapted:latest" not in names(client)


def test_large_files_are_pushed_in_pieces(
    client: ollama.Client, registry: str, tmp_path: Path, gguf: bytes
) -> None:
    """A GGUF file may have more behind its tensors."""
    path = tmp_path / "large.gguf"
    path.write_bytes(gguf + bytes(40 << 20))
    name = "registry.example/team/large:latest"
    client.create(name, files={"large.gguf": client.create_blob(path)})
    sent = [step.completed for step in client.push(name, stream=True) if step.total == path.stat().st_size]
    assert [each or 0 for each in sent] == [0, 16 << 20, 32 << 20, path.stat().st_size, path.stat().st_size]
    tags = httpx.get(f"{registry}/v2/team/large/tags/list", timeout=SECONDS).json()
    assert tags["tags"] == ["latest"]


def log_in(folder: Path, registry: str, password: str) -> None:
    """As `docker login` does."""
    encoded = base64.b64encode(f"{USER}:{password}".encode()).decode()
    document = {"auths": {registry.removeprefix("http://"): {"auth": encoded}}}
    (folder / "config.json").write_text(json.dumps(document))


def test_a_private_registry_is_used_with_the_credentials_of_docker_login(
    client: ollama.Client, folder: Path, private_registry: str, tmp_path: Path, gguf: bytes
) -> None:
    path = tmp_path / "tiny.gguf"
    path.write_bytes(gguf)
    client.create(PRIVATE, files={"tiny.gguf": client.create_blob(path)})
    host = private_registry.removeprefix("http://")
    with pytest.raises(ollama.ResponseError, match=f"unauthorized: access denied by {host}: .*docker login"):
        client.push(PRIVATE)
    log_in(folder, private_registry, "wrong-battery")
    for refused in (client.push, client.pull):
        with pytest.raises(ollama.ResponseError, match="do not open this model"):
            refused(PRIVATE)
    log_in(folder, private_registry, PASSWORD)
    assert client.push(PRIVATE).status == "success"
    client.delete(PRIVATE)
    assert client.pull(PRIVATE).status == "success"
    assert client.show(PRIVATE).modelfile is not None
    logs = "".join(log.read_text() for log in folder.glob("*.log"))
    assert "ready" in logs
    for secret in (PASSWORD, "wrong-battery", base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()):
        assert secret not in logs
