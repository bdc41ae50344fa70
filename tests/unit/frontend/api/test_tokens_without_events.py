"""A token without an event is encoded like its event, by each encoder."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest

from drover.v1 import engine_pb2 as pb
from frontend.api.anthropic.encode import MessagesEncoder
from frontend.api.ollama.encode import ChatShape, GenerateShape, OllamaEncoder
from frontend.api.openai.chat_encode import ChatEncoder
from frontend.api.openai.completion_encode import CompletionEncoder
from frontend.api.openai.responses.encode import ResponsesEncoder
from frontend.api.openai.responses.output import OutputItems
from frontend.api.response import ResponseEncoder
from frontend.routing.backends.base import token_event
from tests.unit.frontend.api.events import done, started, thinking

_RANDOM = re.compile(
    rb'"created_at":"[^"]*"|"created(_at)?":\d+|"completed_at":\d+|(msg|chatcmpl|cmpl|resp|rs)[_-][0-9a-f]+|"total_duration":\d+|"load_duration":\d+'
)
_TEXTS = ("a", " <b> & ü", '"\\\n', "\u2028", "🐑")

ENCODERS: dict[str, Callable[[], ResponseEncoder]] = {
    "chat": lambda: OllamaEncoder("m", ChatShape(), 1),
    "generate": lambda: OllamaEncoder("m", GenerateShape(raw=False), 1),
    "generate, raw": lambda: OllamaEncoder("m", GenerateShape(raw=True), 1),
    "chat completions": lambda: ChatEncoder("m", 1, include_usage=True),
    "completions": lambda: CompletionEncoder("m", 1, 1, include_usage=True),
    "messages": lambda: MessagesEncoder("m", ()),
    "responses": lambda: ResponsesEncoder({"model": "m", "tools": []}, OutputItems({})),
}


def _encoded(encoder: ResponseEncoder, before: list[pb.GenerateEvent], is_token: bool) -> bytes:
    frames = [encoder.lines(event) for event in before]
    for number, text in enumerate(_TEXTS):
        event = token_event(text, number, number + 1)
        frames.append(encoder.token(text, number) if is_token else encoder.lines(event))
    return _RANDOM.sub(b"", b"".join([*frames, encoder.lines(done())]))


@pytest.mark.parametrize("before", [[started(1)], [started(1), thinking("hm")]], ids=["at once", "thinking"])
@pytest.mark.parametrize("name", ENCODERS)
def test_a_token_is_encoded_like_its_event(name: str, before: list[pb.GenerateEvent]) -> None:
    token, event = (_encoded(ENCODERS[name](), before, is_token) for is_token in (True, False))
    assert token == event
    assert token.count(b"\n") >= len(_TEXTS)
