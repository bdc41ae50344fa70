"""Create, copy and delete, and presets in lists and inference."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import pytest

from drover.v1 import engine_pb2 as pb
from tests.fakes.stalling_worker import StallingWorker
from tests.unit.frontend.api.conftest import Frontend, Start
from tests.unit.frontend.api.preset_requests import HELLO, PIRATE, create, delete, names, post, worker


@pytest.fixture
async def frontend(start: Start) -> AsyncIterator[Frontend]:
    async with start(worker()) as running:
        yield running


async def test_a_preset_is_listed_shown_and_used(frontend: Frontend) -> None:
    await create(frontend)

    assert await names(frontend) == ["Pirate:latest", "m:latest"]
    shown = (await post(frontend, "/api/show", model="pirate")).json()
    assert shown["system"] == "Be a pirate."
    assert shown["template"] == PIRATE["template"]
    assert shown["messages"] == PIRATE["messages"]
    assert shown["license"] == "MIT\nL1\nL2"
    assert shown["details"]["parent_model"] == "m:latest"
    assert [line.split() for line in shown["parameters"].splitlines()] == [
        ["num_predict", "7"],
        ["stop", '"A"'],
        ["stop", '"B"'],
        ["temperature", "0.3"],
        ["top_p", "0.5"],
    ]
    response = await post(frontend, "/api/chat", model="pirate", messages=HELLO, stream=False)
    assert response.json()["message"]["content"] == "hi"
    asked = frontend.worker.handles[-1].request
    assert [message.content for message in asked.chat.messages] == ["Be a pirate.", "q", "a", "hello"]
    assert asked.template == PIRATE["template"]
    assert round(asked.sampling.temperature, 3) == 0.3
    assert asked.sampling.top_p == 0.5
    assert list(asked.sampling.stop) == ["A", "B"]
    assert asked.sampling.max_tokens == 7


async def test_the_steps_of_create_are_ollamas(frontend: Frontend) -> None:
    response = await post(frontend, "/api/create", **{**PIRATE, "stream": True})

    assert response.headers["content-type"] == "application/x-ndjson"
    steps = [json.loads(line)["status"] for line in response.text.splitlines()]
    assert steps[0] == f"using existing layer sha256:{'ab' * 32}"
    assert [step.rpartition(" ")[0] for step in steps[1:-2]] == ["creating new layer"] * 6
    assert steps[-2:] == ["writing manifest", "success"]


async def test_generate_puts_the_examples_before_the_prompt(frontend: Frontend) -> None:
    await create(frontend)
    await post(frontend, "/api/generate", model="pirate", prompt="hello", stream=False)

    messages = frontend.worker.handles[-1].request.chat.messages
    assert [(message.role, message.content) for message in messages] == [
        ("system", "Be a pirate."),
        ("user", "q"),
        ("assistant", "a"),
        ("user", "hello"),
    ]


async def test_a_requests_options_override_the_presets_unless_null(frontend: Frontend) -> None:
    await create(frontend, messages=[])
    options = {"temperature": 0.9, "num_predict": None}
    messages = [{"role": "system", "content": "S"}, *HELLO]
    body = {"model": "pirate", "messages": messages, "options": options, "stream": False}
    await post(frontend, "/api/chat", **body)

    asked = frontend.worker.handles[-1].request
    assert [message.content for message in asked.chat.messages] == ["S", "hello"]
    assert round(asked.sampling.temperature, 3) == 0.9
    assert asked.sampling.max_tokens == 7


async def test_a_preset_of_a_preset_has_both_layers(frontend: Frontend) -> None:
    await create(frontend)
    body = {"model": "ns/second:v1", "from": "pirate", "parameters": {"temperature": 0.9}, "license": "L3"}
    await post(frontend, "/api/create", **body)

    shown = (await post(frontend, "/api/show", model="ns/second:v1")).json()
    assert shown["details"]["parent_model"] == "Pirate:latest"
    assert shown["system"] == "Be a pirate."
    assert shown["license"] == "MIT\nL1\nL2\nL3"
    assert "temperature                    0.9" in shown["parameters"].splitlines()
    assert "FROM m:latest" in shown["modelfile"].splitlines()
    await delete(frontend, model="pirate")
    assert await names(frontend) == ["ns/second:v1", "m:latest"]


async def test_a_wrong_parameter_fails_when_it_is_used(frontend: Frontend) -> None:
    await create(frontend, parameters={"temperature": "hot"})
    response = await post(frontend, "/api/chat", model="pirate", messages=HELLO)

    assert response.status_code == 500
    assert response.json() == {"error": 'option "temperature" must be of type float32'}


async def test_a_presets_capabilities_are_those_of_its_template(frontend: Frontend) -> None:
    await create(frontend)
    tool = {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}
    response = await post(frontend, "/api/chat", model="pirate", messages=HELLO, tools=[tool])

    assert response.status_code == 400
    assert response.json() == {"error": "registry.ollama.ai/library/Pirate:latest does not support tools"}
    shown = (await post(frontend, "/api/show", model="pirate")).json()
    assert shown["capabilities"] == ["completion"]


@pytest.mark.parametrize(
    ("body", "status", "error"),
    [
        ({"model": "t"}, 400, "neither 'from' or 'files' was specified"),
        ({"model": "a b", "from": "m"}, 400, "invalid model name"),
        ({"model": "t", "from": "a b"}, 400, "invalid model name"),
        (
            {"model": "t", "from": "m", "template": "{{ .X"},
            400,
            "template error: template: :1: unclosed action",
        ),
        ({"model": "t", "files": {}}, 400, "no files provided to convert"),
        ({"model": "t", "files": {"/x": f"sha256:{'0' * 64}"}}, 400, "file path must be relative"),
        ({"model": "t", "files": {"x": "sha256:1"}}, 400, "invalid digest format"),
        (
            {"model": "t", "from": "m", "quantize": "q4_0"},
            500,
            "quantization is only supported for F16, BF16 and F32 models, and not by this server: quantize "
            "the GGUF file before (llama.cpp has llama-quantize for that), and create the model of the "
            "result",
        ),
        (
            {"model": "t", "files": 1},
            400,
            "json: cannot unmarshal number into Go struct field CreateRequest.files of type "
            "map[string]string",
        ),
    ],
)
@pytest.mark.parametrize("stream", [True, False])
async def test_create_refuses_in_ollamas_words(
    frontend: Frontend, body: dict[str, object], status: int, error: str, stream: bool
) -> None:
    response = await post(frontend, "/api/create", **body, stream=stream)

    assert (response.status_code, response.json()) == (status, {"error": error})
    assert await names(frontend) == ["m:latest"]


async def test_weights_are_refused_with_a_remedy(frontend: Frontend) -> None:
    files = {"model.gguf": f"sha256:{'0' * 64}"}
    response = await post(frontend, "/api/create", model="t", files=files)

    assert response.status_code == 400
    assert "engine workers serve them" in response.json()["error"]


async def test_names_of_served_models_are_refused(frontend: Frontend) -> None:
    await create(frontend)
    refusals = [
        await post(frontend, "/api/create", model="M", **{"from": "m"}),
        await post(frontend, "/api/copy", source="pirate", destination="m:latest"),
        await delete(frontend, model="m"),
    ]

    for response in refusals:
        assert response.status_code == 400
        assert "workers serve a model under that name" in response.json()["error"]


@pytest.mark.parametrize(
    ("source", "destination"), [("nope", "nope"), ("m", "M:latest"), ("m", "library/m"), ("x:1", "X:1")]
)
async def test_a_copy_onto_itself_changes_nothing(frontend: Frontend, source: str, destination: str) -> None:
    response = await post(frontend, "/api/copy", source=source, destination=destination)

    assert (response.status_code, response.content) == (200, b"")
    assert await names(frontend) == ["m:latest"]


async def test_a_name_keeps_its_letter_case(frontend: Frontend) -> None:
    await create(frontend)
    await post(frontend, "/api/copy", source="m", destination="PIRATE")
    assert await names(frontend) == ["Pirate:latest", "m:latest"]
    await post(frontend, "/api/create", model="pIRATE:Latest", **{"from": "m"}, system="S")
    assert await names(frontend) == ["Pirate:latest", "m:latest"]
    assert (await post(frontend, "/api/show", model="pirate")).json()["system"] == "S"


@pytest.mark.parametrize("body", [{"model": ""}, {"model": None}, {}, {"name": " "}])
async def test_delete_needs_a_model(frontend: Frontend, body: dict[str, object]) -> None:
    response = await delete(frontend, **body)
    assert (response.status_code, response.json()) == (400, {"error": "model is required"})


async def test_a_copy_has_the_same_layers(frontend: Frontend) -> None:
    await create(frontend)
    for source, destination in (("pirate", "copied"), ("m", "alias")):
        response = await post(frontend, "/api/copy", source=source, destination=destination)
        assert (response.status_code, response.content) == (200, b"")

    models = {each["name"]: each for each in (await frontend.client.get("/api/tags")).json()["models"]}
    assert models["copied:latest"]["digest"] == models["Pirate:latest"]["digest"]
    await post(frontend, "/api/chat", model="alias", messages=HELLO, stream=False)
    assert frontend.worker.handles[-1].request.model == "m:latest"


async def test_delete_reads_model_or_name(frontend: Frontend) -> None:
    await create(frontend)
    response = await delete(frontend, name="PIRATE")
    again = await delete(frontend, model="", name="pirate")

    assert (response.status_code, response.content) == (200, b"")
    assert (again.status_code, again.json()) == (404, {"error": "model 'pirate' not found"})
    gone = await post(frontend, "/api/chat", model="pirate", messages=HELLO)
    assert (gone.status_code, gone.json()) == (404, {"error": "model 'pirate' not found"})


async def test_a_preset_that_is_too_long_is_refused(start: Start) -> None:
    async with start(worker(), max_preset_bytes=1000) as frontend:
        response = await post(frontend, "/api/create", model="t", system="x" * 2000, **{"from": "m"})

    assert response.status_code == 400
    assert "at most 1000" in response.json()["error"]


async def test_another_frontend_sees_a_preset_immediately(start: Start) -> None:
    async with AsyncExitStack() as stack:
        one = await stack.enter_async_context(start(worker(), preset_poll_seconds=3600))
        await create(one)
        other = await stack.enter_async_context(start(worker(), preset_poll_seconds=3600))
        await create(one, model="second")
        response = await post(other, "/api/chat", model="second", messages=HELLO, stream=False)
        assert response.json()["message"]["content"] == "hi"
        response = await post(other, "/api/chat", model="pirate", messages=HELLO, stream=False)
        assert response.json()["message"]["content"] == "hi"
        await delete(other, model="pirate")
        await delete(other, model="second")
        assert await names(one) == ["m:latest"]


async def test_without_its_database_served_models_work(start: Start) -> None:
    nowhere = "postgresql://user@127.0.0.1:1/nothing"
    async with start(worker(), database_url=nowhere) as frontend:
        chat = await post(frontend, "/api/chat", model="m", messages=HELLO, stream=False)
        assert chat.json()["message"]["content"] == "hi"
        local = await post(frontend, "/api/chat", model="m:local", messages=HELLO, stream=False)
        assert local.json().get("message", local.json()) == chat.json()["message"]
        assert await names(frontend) == ["m:latest"]
        assert (await post(frontend, "/api/show", model="m")).status_code == 200
        changes = [
            await post(frontend, "/api/create", **PIRATE),
            await post(frontend, "/api/copy", source="m", destination="c"),
            await delete(frontend, model="pirate"),
            await frontend.client.post(f"/api/blobs/sha256:{'0' * 64}", content=b"x"),
        ]
        for response in changes:
            assert response.status_code == 503
            assert "database" in response.json()["error"]


async def test_a_preset_whose_base_is_absent_is_listed(start: Start) -> None:
    async with start(worker()) as frontend:
        await create(frontend)
    other = StallingWorker(described=pb.Model(names=["else:latest"], digest="0" * 64))
    async with start(other) as frontend:
        assert "Pirate:latest" in await names(frontend)
        response = await post(frontend, "/api/chat", model="pirate", messages=HELLO)
        assert response.status_code == 503
        assert "made from 'm:latest', which no engine worker serves" in response.json()["error"]
        assert (await post(frontend, "/api/show", model="pirate")).json()["system"] == "Be a pirate."


async def test_copilot_finds_a_model_by_its_basename(start: Start) -> None:
    async with start(worker(model_info_json='{"general.basename":"smol"}')) as frontend:
        response = await frontend.client.post(
            "/api/show", content=b'{"model":"M"}', headers={"user-agent": "GitHubCopilotChat/1.0"}
        )

    assert response.json()["model_info"] == {"general.basename": "M"}


@pytest.mark.parametrize(
    ("name", "status", "error"),
    [
        ("m:local", 200, ""),
        ("m:latest:local", 200, ""),
        ("nope:local", 404, "model 'nope:local' not found"),
        ("nope:cloud", 403, "ollama cloud is disabled: remote model is unavailable"),
        ("gpt-oss:120b-cloud", 403, "ollama cloud is disabled: remote model is unavailable"),
        ("m:cloud:local", 400, 'use either :local or :cloud, not both: "m:cloud:local"'),
        ("m:local:120b-cloud", 400, 'use either :local or :cloud, not both: "m:local:120b-cloud"'),
    ],
)
async def test_names_with_local_and_cloud(frontend: Frontend, name: str, status: int, error: str) -> None:
    response = await post(frontend, "/api/chat", model=name, messages=HELLO, stream=False)

    assert (response.status_code, response.json().get("error", "")) == (status, error)


async def test_verbose_lists_come_from_the_worker(start: Start) -> None:
    described = worker(model_info_json='{"tokenizer.ggml.tokens":null}')
    described.verbose = pb.Model(model_info_json='{"tokenizer.ggml.tokens":["a"]}')
    async with start(described) as frontend:
        brief = await post(frontend, "/api/show", model="m")
        verbose = await post(frontend, "/api/show", model="m", verbose=True)

    assert brief.json()["model_info"] == {"tokenizer.ggml.tokens": None}
    assert verbose.json()["model_info"] == {"tokenizer.ggml.tokens": ["a"]}


async def test_a_preset_of_a_name_with_local(frontend: Frontend) -> None:
    await create(frontend, **{"from": "m:local"})

    shown = (await post(frontend, "/api/show", model="pirate")).json()
    assert shown["details"]["parent_model"] == "m:latest"


@pytest.mark.parametrize("path", ["/api/embed", "/api/embeddings"])
async def test_embeddings_of_cloud_models_are_refused(frontend: Frontend, path: str) -> None:
    response = await post(frontend, path, model="nope:cloud", input="x", prompt="x")

    assert response.status_code == 403
    assert response.json() == {"error": "ollama cloud is disabled: remote model is unavailable"}
