"""Pulls from a Hugging Face hub: which files, from where, and what is refused."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncIterator
from pathlib import Path

import huggingface_hub
import pytest

from drover.errors import DroverError, NotTransferable, SourceFailed
from drover.v1 import host_pb2
from engine_worker.host.models.creation import Creation
from engine_worker.host.models.gguf import GgufReader
from engine_worker.host.models.safetensors import SafetensorsReader
from engine_worker.host.sources import http
from engine_worker.host.sources.allowed import Sources
from engine_worker.host.sources.http import SourceClient
from engine_worker.host.sources.hub_files import chosen_files
from engine_worker.host.sources.pulls import Pulls
from engine_worker.host.store.manifest import CONFIG as CONFIG_TYPE
from engine_worker.host.store.manifest import FILE, LICENSE, MODEL, SYSTEM
from engine_worker.host.store.store import Store
from tests.support.sentencepiece_gguf import write_sentencepiece_gguf
from tests.unit.engine_worker.host.conftest import digest_of, name
from tests.unit.engine_worker.host.models.conftest import CONFIG, safetensors
from tests.unit.engine_worker.host.sources.hub import COMMIT, FakeHub, serving

NAME = "hf.co/team/model"
TOKEN = "hf_a-secret"


@pytest.fixture
async def hub() -> AsyncIterator[FakeHub]:
    async with serving(FakeHub()) as hub:
        yield hub


@pytest.fixture
async def pulls(store: Store, hub: FakeHub, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Pulls]:
    monkeypatch.setattr(http, "_FIRST_PAUSE_SECONDS", 0.001)
    monkeypatch.delenv("HF_TOKEN", raising=False)
    client = SourceClient()
    sources = Sources(client, frozenset({"hf.co"}), {"hf.co": hub.url})
    creation = Creation(store, [GgufReader(store), SafetensorsReader(store, python="python3")])

    async def changed() -> None:
        pass

    pulls = Pulls(store, client, sources.source_of, creation.check, changed)
    yield pulls
    await pulls.stop()
    await client.close()


@pytest.fixture(scope="module")
def gguf(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("gguf") / "tiny.gguf"
    write_sentencepiece_gguf(path)
    return path.read_bytes()


async def pull(pulls: Pulls, text: str = NAME) -> list[host_pb2.Progress]:
    return [step async for step in pulls.pull(name(text), insecure=False)]


async def test_the_fake_speaks_what_the_real_client_asks_for(hub: FakeHub, tmp_path: Path) -> None:
    hub.large, hub.small = {"model.safetensors": safetensors()}, {"config.json": b"{}"}

    def use() -> list[tuple[str, int | None]]:
        api = huggingface_hub.HfApi(endpoint=hub.url)
        api.snapshot_download("team/model", local_dir=tmp_path / "snapshot")
        listed = api.model_info("team/model", files_metadata=True)
        return sorted((file.rfilename, file.size) for file in listed.siblings or ())

    assert await asyncio.to_thread(use) == [("config.json", 2), ("model.safetensors", len(safetensors()))]
    assert (tmp_path / "snapshot" / "model.safetensors").read_bytes() == safetensors()


async def test_a_tag_names_the_quantisation_of_a_gguf_file(
    pulls: Pulls, hub: FakeHub, store: Store, gguf: bytes
) -> None:
    hub.large = {"Model-Q8_0.gguf": b"other", "Model-Q4_K_M.gguf": gguf}
    hub.small = {"README.md": b"# Model", "LICENSE": b"Apache-2.0", "system": b"Be brief."}
    steps = await pull(pulls, f"{NAME}:q4_k_m")
    manifest = store.find(name(f"{NAME}:q4_k_m"))
    assert {layer.media_type: layer.digest for layer in manifest.layers} == {
        MODEL: digest_of(gguf),
        LICENSE: digest_of(b"Apache-2.0"),
        SYSTEM: digest_of(b"Be brief."),
    }
    assert manifest.config is not None
    assert manifest.config.media_type == CONFIG_TYPE
    assert (steps[0].status, steps[-1].status) == ("pulling manifest", "success")
    assert steps[-1].manifest == manifest.digest


async def test_a_cut_download_from_the_hubs_storage_continues(
    pulls: Pulls, hub: FakeHub, store: Store, gguf: bytes
) -> None:
    hub.large, hub.cut_after = {"Model-Q4_K_M.gguf": gguf}, [1000]
    await pull(pulls)
    assert hub.ranges == ["", "bytes=1000-"]
    assert store.blobs.path(digest_of(gguf)).read_bytes() == gguf


async def test_small_files_are_tried_again_as_large_ones_are(
    pulls: Pulls, hub: FakeHub, store: Store, gguf: bytes
) -> None:
    """The hub cannot continue them."""
    hub.large, hub.small = {"Model-Q4_K_M.gguf": gguf}, {"LICENSE": b"Apache-2.0", "system": b""}
    hub.small_faults = [503, 0, 429, 0]
    await pull(pulls)
    layers = {layer.media_type: layer.digest for layer in store.find(name(NAME)).layers}
    assert (layers[LICENSE], layers[SYSTEM]) == (digest_of(b"Apache-2.0"), digest_of(b""))


@pytest.mark.parametrize(("faults", "words"), [([503] * 6, "it answers 503"), ([404], "does not have")])
async def test_a_small_file_that_does_not_come_ends_the_pull(
    pulls: Pulls, hub: FakeHub, gguf: bytes, faults: list[int], words: str
) -> None:
    hub.large, hub.small, hub.small_faults = {"Model-Q4_K_M.gguf": gguf}, {"system": b"Be brief."}, faults
    with pytest.raises(DroverError, match=words):
        await pull(pulls)
    assert hub.small_faults == []


async def test_a_folder_of_safetensors(pulls: Pulls, hub: FakeHub, store: Store) -> None:
    hub.large = {"model.safetensors": safetensors(), "pytorch_model.bin": b"x", "tokenizer.model": b"t"}
    hub.small = {
        "config.json": json.dumps(CONFIG).encode(),
        "tokenizer.json": b"{}",
        "chat_template.jinja": b"{{ messages }}",
        "modeling.py": b"print()",
        ".gitattributes": b"",
        "onnx/config.json": b"{}",
        "../../etc/passwd.json": b"{}",
    }
    await pull(pulls)
    titles = {layer.title for layer in store.find(name(NAME)).of_type(FILE)}
    assert titles == {
        "model.safetensors",
        "tokenizer.model",
        "config.json",
        "tokenizer.json",
        "chat_template.jinja",
    }


async def test_the_token_goes_to_the_hub_only_and_into_no_log(
    pulls: Pulls,
    hub: FakeHub,
    gguf: bytes,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG)
    hub.large, hub.token, hub.cut_after = {"Model-Q4_K_M.gguf": gguf}, TOKEN, [10]
    with pytest.raises(NotTransferable, match="HF_TOKEN"):
        await pull(pulls)
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    await pull(pulls)
    assert hub.seen == {
        "api": {"", f"Bearer {TOKEN}"},
        "resolve": {f"Bearer {TOKEN}"},
        "stored": {""},
    }
    assert TOKEN not in caplog.text


async def test_a_repository_that_is_not_there(hub: FakeHub, pulls: Pulls) -> None:
    hub.token = "another"
    with pytest.raises(NotTransferable, match=r"hf\.co has no model team/model"):
        await pull(pulls)


PARTS = ["Q8_0/m-Q8_0-00001-of-00002.gguf", "Q8_0/m-Q8_0-00002-of-00002.gguf"]


@pytest.mark.parametrize(
    ("tag", "paths", "expected"),
    [
        ("latest", ["m-IQ2_XS.gguf", "m-Q4_K_M.gguf"], "m-Q4_K_M.gguf"),
        ("latest", ["m-mmproj-f16.gguf", "m.Q2_K.gguf", "m.Q8_0.gguf"], "m.Q2_K.gguf"),
        ("latest", [*PARTS, "m-Q8_K.gguf"], "m-Q8_K.gguf"),
        ("q5_k_s", ["m_q5_k_s.gguf", "m_q5_k_m.gguf"], "m_q5_k_s.gguf"),
        ("Q4_K_XL", ["m-UD-Q4_K_XL.gguf", "m-Q4_K_M.gguf"], "m-UD-Q4_K_XL.gguf"),
        ("Q4_K_M", ["m-UD-Q4_K_M.gguf", "m-Q4_K_M.gguf"], "m-Q4_K_M.gguf"),
        ("bf16", ["BF16/m-BF16.gguf", "m-F16.gguf"], "BF16/m-BF16.gguf"),
        ("m-special.gguf", ["m-special.gguf", "m-Q4_K_M.gguf"], "m-special.gguf"),
    ],
)
def test_which_gguf_file_a_tag_means(tag: str, paths: list[str], expected: str) -> None:
    assert chosen_files(name(f"{NAME}:{tag}"), paths) == [(MODEL, expected, "")]


@pytest.mark.parametrize(
    ("tag", "paths", "words"),
    [
        ("Q4_0", ["m-Q4_K_M.gguf", "m-Q8_0.gguf"], "no such file; there are Q4_K_M, Q8_0"),
        ("K_M", ["m-Q4_K_M.gguf"], "no such file"),
        ("q8_0", [*PARTS, "m-Q4_0.gguf"], "split into several GGUF files.*there are Q4_0"),
        ("latest", PARTS, "split into several GGUF files.*no files that are not split"),
        ("Q4_0", ["config.json", "model.safetensors"], "has no GGUF files"),
        ("latest", ["config.json", "pytorch_model.bin"], "pickled weights are not taken"),
        ("latest", ["adapter_model.safetensors"], r"not both config\.json"),
        ("latest", ["config.json", "sub/model.safetensors"], "not both"),
        ("latest", [], "no GGUF file"),
    ],
)
def test_repositories_that_have_no_such_model(tag: str, paths: list[str], words: str) -> None:
    with pytest.raises(NotTransferable, match=words):
        chosen_files(name(f"{NAME}:{tag}"), paths)


def test_weights_in_a_second_form_are_left_out() -> None:
    paths = ["config.json", "consolidated.safetensors", "model-00001-of-00001.safetensors"]
    taken = {path for _, path, _ in chosen_files(name(NAME), paths)}
    assert taken == {"config.json", "model-00001-of-00001.safetensors"}


def listed(**fields: object) -> bytes:
    return json.dumps(
        {"id": "a", "sha": COMMIT, "siblings": [{"rfilename": "m-Q4_0.gguf", **fields}]}
    ).encode()


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (b"[]", SourceFailed),
        (b"{", SourceFailed),
        (b'{"id": "a", "siblings": 1}', SourceFailed),
        (b'{"id": "a", "siblings": [{"rfilename": 7}]}', SourceFailed),
        (listed(), SourceFailed),
        (listed(size=-1), SourceFailed),
        (listed(size=3, lfs={"sha256": "../x", "size": 3, "pointerSize": 1}), SourceFailed),
        (listed(size=3, blobId="0" * 40), SourceFailed),
        (listed(size=2), SourceFailed),
        (listed(size=1 << 40), NotTransferable),
        (b" " * (17 << 20), SourceFailed),
    ],
)
async def test_a_hub_that_lies_leaves_nothing_listed(
    pulls: Pulls, hub: FakeHub, store: Store, answer: bytes, error: type[DroverError]
) -> None:
    hub.listed, hub.small = answer, {"m-Q4_0.gguf": b"abc"}
    with pytest.raises(error):
        await pull(pulls, f"{NAME}:Q4_0")
    assert list(store.models()) == []


async def test_files_that_make_no_model_are_not_listed(pulls: Pulls, hub: FakeHub, store: Store) -> None:
    hub.large = {"m-Q4_K_M.gguf": b"no GGUF"}
    with pytest.raises(DroverError, match="not in GGUF format"):
        await pull(pulls)
    assert list(store.models()) == []
