"""Long requests are converted in a thread, so that others do not wait."""

from __future__ import annotations

import json
import threading

import pytest

from frontend.api.core import conversion
from tests.fakes.stalling_worker import StallingWorker, content, done, started
from tests.unit.frontend.api.conftest import Start

_CHATS = ["/api/chat", "/v1/chat/completions", "/v1/messages", "/v1/responses", "/v1/messages/count_tokens"]
_PROMPTS = ["/api/generate", "/v1/completions"]


def _body(path: str, text: str) -> dict[str, object]:
    if path in _PROMPTS:
        return {"model": "m", "prompt": text, "stream": False}
    if path == "/v1/responses":
        return {"model": "m", "input": text}
    more = {"max_tokens": 5} if path == "/v1/messages" else {}
    return {"model": "m", "messages": [{"role": "user", "content": text}], **more}


@pytest.mark.parametrize("path", [*_CHATS, *_PROMPTS])
@pytest.mark.parametrize(("length", "is_long"), [(1_000, False), (400_000, True)])
async def test_a_long_body_is_converted_in_a_thread(
    start: Start, monkeypatch: pytest.MonkeyPatch, path: str, length: int, is_long: bool
) -> None:
    threads: list[bool] = []

    def watch(name: str) -> None:
        convert = getattr(conversion, name)

        def watched(*arguments: object) -> object:
            threads.append(threading.current_thread() is threading.main_thread())
            return convert(*arguments)

        monkeypatch.setattr(conversion, name, watched)

    watch("chat_to_proto")
    watch("generate_to_proto")
    async with start(StallingWorker(steps=[started(), content("a"), done()])) as frontend:
        await frontend.client.post(path, content=json.dumps(_body(path, "x" * length)))

    assert threads == [not is_long]
