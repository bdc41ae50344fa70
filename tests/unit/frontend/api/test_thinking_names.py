"""Names of `think` and words of efforts, in every dialect, for models that have names and for others."""

from __future__ import annotations

import pytest

from drover.thinking import gpt_oss_levels
from drover.v1 import engine_pb2 as pb
from tests.unit.frontend.api.conftest import Frontend, Start
from tests.unit.frontend.api.preset_requests import HELLO, post, worker

_NATIVE: dict[str, object] = {"messages": HELLO}
_PATHS: dict[str, tuple[str, dict[str, object]]] = {
    "/api/chat": ("think", _NATIVE),
    "/api/generate": ("think", {"prompt": "hi"}),
    "/v1/chat/completions": ("reasoning_effort", _NATIVE),
    "/v1/responses": ("reasoning", {"input": "hi"}),
    "/v1/messages": ("output_config", {"messages": HELLO, "max_tokens": 9}),
}


def _asking(path: str, word: str) -> dict[str, object]:
    field, body = _PATHS[path]
    return {**body, field: {"effort": word} if field in ("reasoning", "output_config") else word}


async def _level(frontend: Frontend, path: str, word: str) -> tuple[pb.Think, str]:
    """What the engine gets, and what the header names."""
    response = await post(frontend, path, model="m", stream=False, **_asking(path, word))
    assert response.status_code == 200, response.text
    think = (await frontend.handle()).request.think
    return think, response.headers.get("x-drover-not-honoured", "")


def _named(path: str) -> str:
    field = _PATHS[path][0]
    return f"{field}.effort" if field in ("reasoning", "output_config") else field


def _thinker(*, named: bool) -> dict[str, object]:
    return {"thinking": gpt_oss_levels()} if named else {}


@pytest.mark.parametrize("path", _PATHS)
@pytest.mark.parametrize(
    ("named", "word", "level"),
    [(True, "high", "high"), (True, "heroic", "medium"), (False, "high", "high"), (False, "heroic", "")],
)
async def test_a_word_becomes_a_level_or_the_default(
    start: Start, path: str, named: bool, word: str, level: str
) -> None:
    model = worker(**_thinker(named=named))
    model.described.capabilities.thinking = True
    async with start(model) as frontend:
        think, named_fields = await _level(frontend, path, word)
    assert think == pb.Think(mode=pb.Think.ON, level=level)
    assert named_fields == (_named(path) if word == "heroic" else "")


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/responses", "/v1/messages"])
async def test_an_unknown_effort_is_no_fault_of_a_model_that_cannot_think(start: Start, path: str) -> None:
    async with start(worker()) as frontend:
        think, _ = await _level(frontend, path, "heroic")
    assert think == pb.Think()


@pytest.mark.parametrize("path", ["/api/chat", "/api/generate"])
async def test_a_name_is(start: Start, path: str) -> None:
    async with start(worker()) as frontend:
        response = await post(frontend, path, model="m", **_asking(path, "heroic"))
    assert (response.status_code, response.json()["error"]) == (400, '"m" does not support thinking')


async def test_show_has_the_values_and_the_source(start: Start) -> None:
    model = worker(**_thinker(named=True), template_source="gguf_chat_template")
    model.described.capabilities.thinking = True
    async with start(model) as frontend:
        shown = (await post(frontend, "/api/show", model="m")).json()
        own = {"model": "t", "from": "m", "template": "{{ .Prompt }}{{ .Thinking }}"}
        await post(frontend, "/api/create", **own)
        made = (await post(frontend, "/api/show", model="t")).json()
    assert shown["thinking"] == {"values": ["low", "medium", "high"], "default": "medium"}
    assert list(shown)[-4:] == ["capabilities", "thinking", "template_source", "modified_at"]
    assert shown["template_source"] == "gguf_chat_template"
    assert made["template_source"] == "go_template"


async def test_a_model_without_that_knowledge_has_neither(frontend: Frontend) -> None:
    shown = (await post(frontend, "/api/show", model="m")).json()
    assert not {"thinking", "template_source", "renderer", "parser", "remote_model"} & shown.keys()
