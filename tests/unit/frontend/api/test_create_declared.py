"""RENDERER, PARSER, DRAFT and CAPABILITY: kept by create, inherited, printed by show, and without effect."""

from __future__ import annotations

import hashlib

import pytest

from drover.v1 import engine_pb2 as pb
from tests.unit.frontend.api.conftest import Frontend, Start
from tests.unit.frontend.api.preset_requests import post, worker

_DRAFT = b"weights of a draft"
_DIGEST = f"sha256:{hashlib.sha256(_DRAFT).hexdigest()}"
_DECLARED = {
    "renderer": "qwen3-coder",
    "parser": "qwen3-coder",
    "requires": "0.35.1",
    "draft_files": {"draft.gguf": _DIGEST},
    "capabilities": ["tools", "decision"],
}
_LINES = {
    "RENDERER qwen3-coder",
    "PARSER qwen3-coder",
    "REQUIRES 0.35.1",
    "DRAFT draft.gguf",
    "CAPABILITY tools",
    "CAPABILITY decision",
}


async def _create(frontend: Frontend, name: str, origin: str, **fields: object) -> str:
    """Return what the answer names as without effect."""
    await frontend.client.post(f"/api/blobs/{_DIGEST}", content=_DRAFT)
    response = await post(frontend, "/api/create", model=name, **{"from": origin}, stream=False, **fields)
    assert (response.status_code, response.json()) == (200, {"status": "success"})
    return str(response.headers.get("x-drover-not-honoured", ""))


@pytest.mark.parametrize("stream", [True, False])
async def test_what_is_declared_is_shown_and_named(start: Start, stream: bool) -> None:
    body = {"model": "t", "from": "m", "stream": stream, **_DECLARED}
    async with start(worker()) as frontend:
        await frontend.client.post(f"/api/blobs/{_DIGEST}", content=_DRAFT)
        response = await post(frontend, "/api/create", **body)
        shown = (await post(frontend, "/api/show", model="t")).json()

    assert (shown["renderer"], shown["parser"], shown["requires"]) == ("qwen3-coder", "qwen3-coder", "0.35.1")
    assert set(shown["modelfile"].splitlines()) >= _LINES
    assert "decision" not in shown["capabilities"]
    named = response.headers["x-drover-not-honoured"].split(", ")
    assert named == ["renderer", "parser", "draft_files", "capabilities.decision"]


async def test_a_model_made_of_it_has_the_same(frontend: Frontend) -> None:
    await _create(frontend, "t", "m", **_DECLARED)
    await _create(frontend, "u", "t", system="S", capabilities=["vision"], parser="other")
    await post(frontend, "/api/copy", source="u", destination="v")
    lines = set((await post(frontend, "/api/show", model="v")).json()["modelfile"].splitlines())

    assert lines >= (_LINES - {"PARSER qwen3-coder"}) | {"PARSER other", "CAPABILITY vision"}


async def test_it_outlives_a_restart(start: Start) -> None:
    async with start(worker()) as frontend:
        await _create(frontend, "t", "m", **_DECLARED)
    async with start(worker()) as frontend:
        shown = (await post(frontend, "/api/show", model="t")).json()
    assert set(shown["modelfile"].splitlines()) >= _LINES


async def test_nothing_is_named_where_it_is_true(start: Start) -> None:
    async with start(worker(renderer="deepseek", parser="hermes")) as frontend:
        fields = {"renderer": "deepseek", "parser": "hermes", "info": {"capabilities": ["tools"]}}
        assert await _create(frontend, "t", "m", **fields) == ""
        shown = (await post(frontend, "/api/show", model="m")).json()
    assert (shown["renderer"], shown["parser"]) == ("deepseek", "hermes")
    assert "RENDERER" not in shown["modelfile"]


@pytest.mark.parametrize("field", ["renderer", "parser", "capabilities"])
async def test_a_line_break_makes_no_line_of_its_own(frontend: Frontend, field: str) -> None:
    text = "x\nSYSTEM evil"
    await _create(frontend, "t", "m", **{field: [text] if field == "capabilities" else text})
    modelfile = (await post(frontend, "/api/show", model="t")).json()["modelfile"]
    assert '"x\nSYSTEM evil"\n' in modelfile


@pytest.mark.parametrize(
    ("value", "error"),
    [("tools", "string into Go struct field CreateRequest.capabilities of type []string"),
     ([5], "number into Go struct field CreateRequest.capabilities of type string")],
)  # fmt: skip
async def test_capabilities_of_another_type(frontend: Frontend, value: object, error: str) -> None:
    response = await post(frontend, "/api/create", model="t", **{"from": "m"}, capabilities=value)
    assert (response.status_code, response.json()) == (400, {"error": f"json: cannot unmarshal {error}"})


async def test_the_models_of_an_ollama_server_are_marked(start: Start) -> None:
    remote = {"remote_model": "llama3.2:latest", "remote_host": "http://gpu:11434", "requires": "0.34.0"}
    other = worker(**remote)
    other.report = pb.LoadReport(loaded=True)
    async with start(other) as frontend:
        await post(frontend, "/api/generate", model="m")
        shown = (await post(frontend, "/api/show", model="m")).json()
        (tag,) = (await frontend.client.get("/api/tags")).json()["models"]
        (process,) = (await frontend.client.get("/api/ps")).json()["models"]
    for entry in (shown, tag, process):
        assert (entry["remote_model"], entry["remote_host"]) == ("llama3.2:latest", "http://gpu:11434")
    assert list(tag)[:4] == ["name", "model", "remote_model", "remote_host"]
    assert shown["requires"] == "0.34.0"
