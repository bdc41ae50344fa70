"""Transcriptions check their form; completions with `_debug_render_only` generate nothing."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.unit.frontend.api.conftest import Frontend, Start
from tests.unit.frontend.api.preset_requests import post, worker

_FORM = "multipart/form-data; boundary=x"
_MODEL = '--x\r\nContent-Disposition: form-data; name="model"\r\n\r\nm\r\n'
_OTHER = _MODEL.replace("\r\nm\r\n", "\r\nnope\r\n")
_FILE = '--x\r\nContent-Disposition: form-data; name="file"; filename="a.wav"\r\n\r\nRIFF\r\n'
_END = "--x--\r\n"
_NO_AUDIO = '"m" does not support audio; no model of this server supports audio'
_NO_FORM = "failed to parse multipart form: "


@pytest.fixture
async def frontend(start: Start) -> AsyncIterator[Frontend]:
    async with start(worker()) as running:
        yield running


@pytest.mark.parametrize(
    ("content_type", "body", "status", "message", "line_feed"),
    [
        ("", "", 400, f"{_NO_FORM}request Content-Type isn't multipart/form-data", False),
        ("application/json", "{}", 400, f"{_NO_FORM}request Content-Type isn't multipart/form-data", False),
        ("multipart/form-data", _FILE, 400, f"{_NO_FORM}no multipart boundary param in Content-Type", False),
        (_FORM, "", 400, f"{_NO_FORM}multipart: NextPart: EOF", False),
        (_FORM, _MODEL + _END, 400, "file is required: http: no such file", False),
        (_FORM, _FILE + _END, 400, "model is required", False),
        (_FORM, _FILE + _OTHER + _END, 404, "model 'nope' not found", True),
        (_FORM, _MODEL + _FILE + _END, 400, _NO_AUDIO, True),
    ],
)  # fmt: skip
async def test_a_form_is_checked_before_the_model_s_capabilities(
    frontend: Frontend, content_type: str, body: str, status: int, message: str, line_feed: bool
) -> None:
    response = await frontend.client.post(
        "/v1/audio/transcriptions", content=body, headers={"content-type": content_type}
    )

    assert (response.status_code, response.json()["error"]["message"]) == (status, message)
    assert response.text.endswith("\n") == line_feed


@pytest.mark.parametrize("stream", [True, False])
async def test_debug_render_only_generates_nothing(frontend: Frontend, stream: bool) -> None:
    body = {"model": "m", "prompt": "Hi", "_debug_render_only": True, "stream": stream}
    response = await post(frontend, "/v1/completions", **body)

    assert response.json()["choices"] == [{"text": "", "index": 0, "finish_reason": None}]
    assert set(response.json()["usage"].values()) == {0}
    assert not frontend.worker.handles
