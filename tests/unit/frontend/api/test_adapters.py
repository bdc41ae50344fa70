"""Create with `adapters`: what the workers get, and what is refused before they do."""

from __future__ import annotations

import hashlib
import json
from collections.abc import AsyncIterator

import pytest

from drover.adapters import digest_of_header
from drover.errors import InvalidRequest
from drover.v1 import engine_pb2 as pb
from tests.fakes.stalling_worker import StallingWorker
from tests.unit.frontend.api.conftest import Frontend, Start
from tests.unit.frontend.api.preset_requests import HELLO, delete, names, post, worker

_DATA = b"x" * (1 << 20) + b"the rest"


@pytest.fixture
async def frontend(start: Start) -> AsyncIterator[Frontend]:
    taking = worker()
    taking.described.capabilities.gguf_adapters = True
    taking.described.engine_kind = "llamacpp"
    async with start(taking) as running:
        yield running


async def _blob(frontend: Frontend, data: bytes = _DATA) -> str:
    digest = f"sha256:{hashlib.sha256(data).hexdigest()}"
    assert (await frontend.client.post(f"/api/blobs/{digest}", content=data)).status_code in (200, 201)
    return digest


async def _create(frontend: Frontend, adapters: object, **body: object) -> tuple[int, dict[str, str]]:
    whole = {"model": "pirate", "from": "m", "adapters": adapters, "stream": False, **body}
    response = await post(frontend, "/api/create", **whole)
    return response.status_code, response.json()


async def test_the_workers_get_the_files_and_requests_name_them(frontend: Frontend) -> None:
    digest = await _blob(frontend)
    assert await _create(frontend, {"my.gguf": digest}) == (200, {"status": "success"})

    (parts,) = frontend.worker.adapters
    header = parts[0].header
    assert [(file.name, file.sha256, file.size_bytes) for file in header.files] == [
        ("adapter.gguf", digest.removeprefix("sha256:"), len(_DATA))
    ]
    assert header.digest == digest_of_header(header)
    assert b"".join(part.data for part in parts[1:]) == _DATA
    assert max(len(part.data) for part in parts) <= 1 << 20

    await post(frontend, "/api/chat", model="pirate", messages=HELLO, stream=False)
    await post(frontend, "/api/chat", model="m", messages=HELLO, stream=False)
    assert [handle.request.adapter for handle in frontend.worker.handles] == [header.digest, ""]


async def test_labels_are_scored_with_the_adapter(frontend: Frontend) -> None:
    await _create(frontend, {"my.gguf": await _blob(frontend)})
    frontend.worker.scored = pb.ScoreResponse(results=[pb.ScoreResult(logprobs=[-1], label_ids=[7])])
    body = {"query": "q", "items": ["a"], "label_token_ids": [7]}
    for model in ("pirate", "m"):
        answer = await post(frontend, "/v1/score", model=model, **body)
        assert answer.status_code == 200, answer.text
    assert [len(request.adapter) for request in frontend.worker.scores] == [64, 0]


async def test_pairs_are_ranked_with_the_adapter(frontend: Frontend) -> None:
    frontend.worker.described.capabilities.rerank = True
    frontend.worker.reranked = pb.RerankResponse(scores=[0.5], prompt_tokens=2)
    await _create(frontend, {"my.gguf": await _blob(frontend)})
    known = frontend.worker.adapters[0][0].header.digest
    for path, body in (
        ("/v1/score", {"text_1": ["q"], "text_2": ["a"]}),
        ("/v1/rerank", {"query": "q", "documents": ["a"]}),
    ):
        for model in ("pirate", "m"):
            answer = await post(frontend, path, model=model, **body)
            assert answer.status_code == 200, answer.text
    assert [request.adapter for request in frontend.worker.reranks] == [known, ""] * 2


async def test_its_file_is_a_layer_among_the_steps(frontend: Frontend) -> None:
    digest = await _blob(frontend)
    body = {"model": "pirate", "from": "m", "adapters": {"my.gguf": digest}}
    response = await post(frontend, "/api/create", **body)

    steps = [json.loads(line)["status"] for line in response.text.splitlines()]
    assert steps == [
        f"using existing layer sha256:{'ab' * 32}",
        f"creating new layer {digest}",
        "writing manifest",
        "success",
    ]


async def test_what_a_worker_refuses_makes_no_model(frontend: Frontend) -> None:
    frontend.worker.adapter_refusal = InvalidRequest("adapters: it was made for another model")

    status, answer = await _create(frontend, {"my.gguf": await _blob(frontend)})

    assert (status, answer["error"]) == (400, "adapters: it was made for another model")
    assert await names(frontend) == ["m:latest"]


async def test_the_last_model_of_an_adapter_takes_it_along(frontend: Frontend) -> None:
    await _create(frontend, {"my.gguf": await _blob(frontend)})
    await post(frontend, "/api/copy", source="pirate", destination="two")
    (parts,) = frontend.worker.adapters
    known = parts[0].header.digest

    await delete(frontend, model="pirate")
    assert frontend.worker.deleted_adapters == []
    await delete(frontend, model="two")
    assert frontend.worker.deleted_adapters == [known]


async def test_a_model_that_is_made_anew_drops_its_old_adapter(frontend: Frontend) -> None:
    await _create(frontend, {"my.gguf": await _blob(frontend)})
    first = frontend.worker.adapters[0][0].header.digest
    await _create(frontend, {"my.gguf": await _blob(frontend, b"another one")})

    assert frontend.worker.deleted_adapters == [first]


@pytest.mark.parametrize(
    ("adapters", "reason"),
    [
        ({"my.gguf": f"sha256:{'0' * 64}"}, f"there is no blob sha256:{'0' * 64}"),
        ({"my.gguf": "sha256:1"}, "invalid digest format"),
        ({"../my.gguf": f"sha256:{'0' * 64}"}, "file path must be relative"),
        ({"lora.bin": f"sha256:{'0' * 64}"}, "pickled weights"),
    ],
)
async def test_names_and_digests_are_checked_first(
    frontend: Frontend, adapters: dict[str, str], reason: str
) -> None:
    status, answer = await _create(frontend, adapters)

    assert status == 400
    assert reason in answer["error"]
    assert not frontend.worker.adapters


async def test_another_format_is_refused_in_words(frontend: Frontend) -> None:
    digest = await _blob(frontend)
    peft = {"adapter_config.json": digest, "adapter_model.safetensors": digest}

    status, answer = await _create(frontend, peft)

    assert status == 400
    assert "(llamacpp) take an adapter as one GGUF file" in answer["error"]


async def test_a_base_whose_workers_take_none_is_refused(start: Start) -> None:
    """An Ollama server's models are such bases too."""
    async with start(worker()) as frontend:
        status, answer = await _create(frontend, {"my.gguf": await _blob(frontend)})

    assert status == 400
    assert "the workers of 'm:latest' take none" in answer["error"]
    assert not frontend.worker.adapters


async def test_no_adapters_at_all_is_an_ordinary_model(frontend: Frontend) -> None:
    assert (await _create(frontend, {}))[0] == 200
    assert not frontend.worker.adapters
    listed = (await frontend.client.get("/v1/models")).json()["data"]
    assert not any("parent" in model for model in listed)


def _with_named(*names: str) -> tuple[StallingWorker, str]:
    """A worker whose operator has one adapter under these names; and its digest."""
    having = worker()
    having.described.capabilities.gguf_adapters = True
    file = pb.AdapterFile(name="adapter.gguf", sha256="1" * 64, size_bytes=7)
    header = pb.AdapterHeader(files=[file])
    header.digest = digest_of_header(header)
    having.described.named_adapters.extend(pb.NamedAdapter(name=name, adapter=header) for name in names)
    having.report.adapters.append(header.digest)
    return having, header.digest


async def test_an_operators_adapter_is_a_model(start: Start) -> None:
    having, known = _with_named("sailor:latest")
    async with start(having) as frontend:
        answer = await post(frontend, "/api/chat", model="sailor", messages=HELLO, stream=False)
        shown = (await post(frontend, "/api/show", model="sailor")).json()
        listed = (await frontend.client.get("/v1/models")).json()["data"]

        assert answer.status_code == 200
        assert await names(frontend) == ["m:latest", "sailor:latest"]
    assert shown["details"]["parent_model"] == "m:latest"
    assert {model["id"]: model.get("parent") for model in listed} == {
        "m:latest": None,
        "sailor:latest": "m:latest",
    }
    assert [handle.request.adapter for handle in having.handles] == [known]
    assert not having.adapters


async def test_an_operators_adapter_is_neither_replaced_nor_deleted(start: Start) -> None:
    having, _ = _with_named("sailor:latest")
    async with start(having) as frontend:
        created = await post(frontend, "/api/create", **{"model": "sailor", "from": "m", "stream": False})
        deleted = await delete(frontend, model="sailor")

    assert (created.status_code, deleted.status_code) == (400, 400)
    assert "this server's workers serve a model under that name" in created.json()["error"]
    assert having.deleted_adapters == []


async def test_a_model_made_from_an_operators_adapter_has_it(start: Start) -> None:
    having, known = _with_named("sailor:latest")
    body = {"model": "mate", "from": "sailor", "system": "Be brief.", "stream": False}
    async with start(having) as frontend:
        assert (await post(frontend, "/api/create", **body)).status_code == 200
        await post(frontend, "/api/chat", model="mate", messages=HELLO, stream=False)
        await delete(frontend, model="mate")

    assert [handle.request.adapter for handle in having.handles] == [known]
    assert having.deleted_adapters == []


async def test_a_worker_without_the_operators_adapter_gets_no_request(start: Start) -> None:
    having, _ = _with_named("sailor:latest")
    having.report.ClearField("adapters")
    async with start(having) as frontend:
        answer = await post(frontend, "/api/chat", model="sailor", messages=HELLO, stream=False)

    assert answer.status_code == 500
    assert "lacks an adapter of the operator's" in answer.json()["error"]
    assert having.handles == []
