"""llama-index-llms-ollama."""

from __future__ import annotations

import pytest
from llama_index.core.llms import ChatMessage
from llama_index.core.tools import FunctionTool
from llama_index.llms.ollama import Ollama
from ollama import ResponseError
from pydantic import BaseModel

from tests.clients.fleet import (
    ANSWER,
    HARD_QUESTION,
    QUESTION,
    SMOL,
    THINKER,
    THOUGHTS,
    WEATHER_QUESTION,
    Fleet,
)

OPTIONS = {"num_predict": 60}


class Capital(BaseModel):
    city: str


def get_weather(city: str) -> str:
    """Tells the weather."""
    return f"Rain in {city}."


@pytest.fixture
def smol(fleet: Fleet) -> Ollama:
    return Ollama(SMOL, base_url=fleet.url, temperature=0, request_timeout=60, additional_kwargs=OPTIONS)


@pytest.fixture
def thinker(fleet: Fleet) -> Ollama:
    return Ollama(THINKER, base_url=fleet.url, request_timeout=60)


def user_message(question: str) -> list[ChatMessage]:
    return [ChatMessage(role="user", content=question)]


def test_the_context_window_is_the_models(smol: Ollama) -> None:
    assert smol.metadata.context_window == 8192


async def test_complete(smol: Ollama) -> None:
    assert smol.complete(QUESTION).text == ANSWER
    assert (await smol.acomplete(QUESTION)).text == ANSWER


async def test_complete_streams(smol: Ollama) -> None:
    assert "".join(piece.delta or "" for piece in smol.stream_complete(QUESTION)) == ANSWER
    pieces = [piece.delta or "" async for piece in await smol.astream_complete(QUESTION)]
    assert "".join(pieces) == ANSWER


async def test_chat(smol: Ollama) -> None:
    answer = smol.chat(user_message(QUESTION))
    assert answer.message.content == ANSWER
    assert answer.raw["usage"] == {"prompt_tokens": 16, "completion_tokens": 8, "total_tokens": 24}
    assert (await smol.achat(user_message(QUESTION))).message.content == ANSWER


async def test_chat_streams(smol: Ollama) -> None:
    assert "".join(piece.delta or "" for piece in smol.stream_chat(user_message(QUESTION))) == ANSWER
    pieces = [piece.delta or "" async for piece in await smol.astream_chat(user_message(QUESTION))]
    assert "".join(pieces) == ANSWER


def test_structured(smol: Ollama) -> None:
    question = "What is the capital of France? Answer as JSON with the key city."
    answer = smol.as_structured_llm(Capital).chat(user_message(question))
    assert "Paris" in answer.raw.city


def test_tools(thinker: Ollama) -> None:
    tool = FunctionTool.from_defaults(get_weather)
    answer = thinker.chat_with_tools([tool], user_msg=WEATHER_QUESTION)
    (call,) = thinker.get_tool_calls_from_response(answer)
    assert (call.tool_name, call.tool_kwargs) == ("get_weather", {"city": "Paris"})


def test_thinking(fleet: Fleet) -> None:
    thinker = Ollama(THINKER, base_url=fleet.url, thinking=True)
    thoughts, answer = thinker.chat(user_message(HARD_QUESTION)).message.blocks
    assert (thoughts.content, answer.text) == (THOUGHTS, "It is 391.")


def test_a_missing_model(fleet: Fleet) -> None:
    with pytest.raises(ResponseError, match="not found"):
        Ollama("nope", base_url=fleet.url).complete(QUESTION)
