"""Images in the results of tools, as Claude Code and Codex send them to any model."""

from __future__ import annotations

import base64

import pytest

from drover.v1 import engine_pb2 as pb
from tests.fakes.stalling_worker import StallingWorker, content, default_model, done, started
from tests.unit.frontend.api.conftest import Start

_PNG = base64.b64encode(b"\x89PNG\r\n\x1a\n").decode()
_NOTE = "[An image was left out: this model cannot see images.]"
_ANTHROPIC_IMAGE = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": _PNG}}
_OPENAI_IMAGE = {"type": "input_image", "image_url": f"data:image/png;base64,{_PNG}"}
PATHS = pytest.mark.parametrize("path", ["/v1/messages", "/v1/responses"])


def _body(path: str, *, images: int = 1, text: str = "") -> dict[str, object]:
    """A conversation whose tool has given back images."""
    if path == "/v1/messages":
        texts = [{"type": "text", "text": text}] if text else []
        use = {"type": "tool_use", "id": "c", "name": "Read", "input": {}}
        result = {
            "type": "tool_result",
            "tool_use_id": "c",
            "content": [*texts, *[_ANTHROPIC_IMAGE] * images],
        }
        messages = [
            {"role": "user", "content": "Look."},
            {"role": "assistant", "content": [use]},
            {"role": "user", "content": [result]},
        ]
        return {"model": "m", "max_tokens": 5, "messages": messages}
    texts = [{"type": "input_text", "text": text}] if text else []
    items = [
        {"role": "user", "content": "Look."},
        {"type": "function_call", "call_id": "c", "name": "view_image", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "c", "output": [*texts, *[_OPENAI_IMAGE] * images]},
    ]
    return {"model": "m", "input": items}


def _worker(vision: bool) -> StallingWorker:
    model = default_model()
    model.capabilities.vision = vision
    return StallingWorker(described=model, steps=[started(), content("a"), done()])


async def _result(start: Start, body: dict[str, object], path: str, vision: bool) -> tuple[pb.Message, str]:
    """The tool's message as the worker gets it, and the header."""
    async with start(_worker(vision)) as frontend:
        answer = await frontend.client.post(path, json=body)
        assert answer.status_code == 200, answer.text
        message = (await frontend.handle()).request.chat.messages[-1]
        assert message.role == "tool"
        return message, answer.headers.get("x-drover-not-honoured", "")


@PATHS
@pytest.mark.parametrize("stream", [False, True])
async def test_a_model_that_cannot_see_reads_that_an_image_was_left_out(
    start: Start, path: str, stream: bool
) -> None:
    message, header = await _result(start, {**_body(path), "stream": stream}, path, vision=False)

    assert (message.content, len(message.images)) == (_NOTE, 0)
    assert header == "tool_result.images"


@PATHS
async def test_the_text_of_the_result_stays(start: Start, path: str) -> None:
    body = _body(path, images=2, text="Two pages.")
    message, _ = await _result(start, body, path, vision=False)

    assert message.content == "Two pages.\n[2 images were left out: this model cannot see images.]"


@PATHS
async def test_a_model_that_sees_gets_the_images(start: Start, path: str) -> None:
    message, header = await _result(start, _body(path), path, vision=True)

    assert (message.content, len(message.images), header) == ("", 1, "")


@PATHS
async def test_an_image_of_the_user_is_refused(start: Start, path: str) -> None:
    image = _ANTHROPIC_IMAGE if path == "/v1/messages" else _OPENAI_IMAGE
    question = [{"role": "user", "content": [image]}]
    name = "messages" if path == "/v1/messages" else "input"
    async with start(_worker(vision=False)) as frontend:
        answer = await frontend.client.post(path, json={**_body(path), name: question})

    assert answer.status_code == 400
    assert "does not support multimodal requests" in answer.text


async def test_tokens_are_counted_without_the_images(start: Start) -> None:
    async with start(_worker(vision=False)) as frontend:
        answer = await frontend.client.post("/v1/messages/count_tokens", json=_body("/v1/messages"))

    assert answer.status_code == 200, answer.text
