"""A token that comes without an event says the same to clients, in each dialect."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest

from drover.v1 import engine_pb2 as pb
from frontend.api.anthropic.dialect import AnthropicDialect
from frontend.api.anthropic.encode import Encoder as AnthropicEncoder
from frontend.api.multi_choice import OneChoice
from frontend.api.ollama.dialect import OllamaDialect
from frontend.api.ollama.encode import ChatShape, Encoder, GenerateShape
from frontend.api.openai.chat_encode import ChatEncoder
from frontend.api.openai.completion_encode import CompletionEncoder
from frontend.api.openai.dialect import OpenAIDialect
from frontend.api.openai.responses.dialect import ResponsesDialect
from frontend.api.openai.responses.encode import Encoder as ResponsesEncoder
from frontend.api.openai.responses.output import Output
from frontend.api.response import Dialect
from frontend.routing.backends.base import token_event
from tests.unit.frontend.api.ollama.events import done, started, thinking

_RANDOM = re.compile(
    rb'"created_at":"[^"]*"|"created(_at)?":\d+|"completed_at":\d+|(msg|chatcmpl|cmpl|resp|rs)[_-][0-9a-f]+|"total_duration":\d+|"load_duration":\d+'
)
_TEXTS = ("a", " <b> & ü", '"\\\n', "\u2028", "🐑")

DIALECTS: dict[str, Callable[[], Dialect]] = {
    "chat": lambda: OllamaDialect(Encoder("m", ChatShape(), 1)),
    "generate": lambda: OllamaDialect(Encoder("m", GenerateShape(raw=False), 1)),
    "generate, raw": lambda: OllamaDialect(Encoder("m", GenerateShape(raw=True), 1)),
    "chat completions": lambda: OneChoice(OpenAIDialect(ChatEncoder("m", 1, include_usage=True))),
    "completions": lambda: OneChoice(OpenAIDialect(CompletionEncoder("m", 1, 1, include_usage=True))),
    "messages": lambda: AnthropicDialect(AnthropicEncoder("m", ())),
    "responses": lambda: ResponsesDialect(ResponsesEncoder({"model": "m", "tools": []}, Output({}))),
}


def _said(dialect: Dialect, before: list[pb.GenerateEvent], is_token: bool) -> bytes:
    said = [dialect.lines(event) for event in before]
    for number, text in enumerate(_TEXTS):
        event = token_event(text, number, number + 1)
        said.append(dialect.token(text, number) if is_token else dialect.lines(event))
    return _RANDOM.sub(b"", b"".join([*said, dialect.lines(done())]))


@pytest.mark.parametrize("before", [[started(1)], [started(1), thinking("hm")]], ids=["at once", "thinking"])
@pytest.mark.parametrize("name", DIALECTS)
def test_a_token_is_said_as_its_event_is(name: str, before: list[pb.GenerateEvent]) -> None:
    token, event = (_said(DIALECTS[name](), before, is_token) for is_token in (True, False))
    assert token == event
    assert token.count(b"\n") >= len(_TEXTS)
