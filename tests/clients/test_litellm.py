"""litellm's two providers for Ollama: `ollama/` by /api/generate, `ollama_chat/` by /api/chat."""

from __future__ import annotations

import json

import litellm
import pytest

from tests.clients.fleet import (
    ANSWER,
    HARD_QUESTION,
    QUESTION,
    SMOL,
    THINKER,
    THOUGHTS,
    VECTORS,
    WEATHER_QUESTION,
    Fleet,
)

BOTH = pytest.mark.parametrize("provider", ["ollama", "ollama_chat"])
TOOL = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "Tells the weather.",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string"}},
            "required": ["city"],
        },
    },
}
CITY_FORMAT = {
    "type": "json_schema",
    "json_schema": {
        "name": "capital",
        "schema": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}
_TIMEOUT_SECONDS = 60


def user_message(question: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": question}]


def _arguments(fleet: Fleet, provider: str, model: str, question: str) -> dict[str, object]:
    return {
        "model": f"{provider}/{model}",
        "api_base": fleet.url,
        "messages": user_message(question),
        "temperature": 0,
        "timeout": _TIMEOUT_SECONDS,
    }


@BOTH
def test_completion(fleet: Fleet, provider: str) -> None:
    answer = litellm.completion(**_arguments(fleet, provider, SMOL, QUESTION), max_tokens=24)
    (choice,) = answer.choices
    assert choice.finish_reason == "stop"
    assert "Paris" in choice.message.content
    assert answer.usage.completion_tokens > 0


@BOTH
def test_completion_streams(fleet: Fleet, provider: str) -> None:
    chunks = list(
        litellm.completion(**_arguments(fleet, provider, SMOL, QUESTION), max_tokens=24, stream=True)
    )
    assert "Paris" in "".join(chunk.choices[0].delta.content or "" for chunk in chunks)
    assert chunks[-1].choices[0].finish_reason == "stop"


@BOTH
async def test_acompletion(fleet: Fleet, provider: str) -> None:
    arguments = _arguments(fleet, provider, SMOL, QUESTION)
    whole = await litellm.acompletion(**arguments, max_tokens=24)
    stream = await litellm.acompletion(**arguments, max_tokens=24, stream=True)
    pieces = [chunk.choices[0].delta.content or "" async for chunk in stream]
    assert "".join(pieces) == whole.choices[0].message.content


def test_a_chat_gives_the_models_answer(fleet: Fleet) -> None:
    answer = litellm.completion(**_arguments(fleet, "ollama_chat", SMOL, QUESTION), max_tokens=24)
    assert answer.choices[0].message.content == ANSWER
    assert (answer.usage.prompt_tokens, answer.usage.completion_tokens) == (16, 8)


@BOTH
def test_finish_reason_at_the_token_limit(fleet: Fleet, provider: str) -> None:
    answer = litellm.completion(**_arguments(fleet, provider, SMOL, QUESTION), max_tokens=2)
    assert answer.usage.completion_tokens == 2


@BOTH
def test_structured_output(fleet: Fleet, provider: str) -> None:
    arguments = _arguments(fleet, provider, SMOL, QUESTION)
    answer = litellm.completion(**arguments, max_tokens=60, response_format=CITY_FORMAT)
    assert list(json.loads(answer.choices[0].message.content)) == ["city"]


def test_tools(fleet: Fleet) -> None:
    answer = litellm.completion(**_arguments(fleet, "ollama_chat", THINKER, WEATHER_QUESTION), tools=[TOOL])
    (choice,) = answer.choices
    (call,) = choice.message.tool_calls
    assert (call.function.name, json.loads(call.function.arguments)) == ("get_weather", {"city": "Paris"})
    assert choice.finish_reason == "tool_calls"


def test_tools_stream(fleet: Fleet) -> None:
    chunks = litellm.completion(
        **_arguments(fleet, "ollama_chat", THINKER, WEATHER_QUESTION), tools=[TOOL], stream=True
    )
    calls = [call for chunk in chunks for call in chunk.choices[0].delta.tool_calls or ()]
    assert [json.loads(call.function.arguments) for call in calls] == [{"city": "Paris"}]


def test_reasoning(fleet: Fleet) -> None:
    answer = litellm.completion(
        **_arguments(fleet, "ollama_chat", THINKER, HARD_QUESTION), reasoning_effort="high"
    )
    message = answer.choices[0].message
    assert (message.reasoning_content, message.content) == (THOUGHTS, "It is 391.")


@BOTH
def test_a_missing_model(fleet: Fleet, provider: str) -> None:
    with pytest.raises(litellm.NotFoundError, match="model 'nope' not found"):
        litellm.completion(**_arguments(fleet, provider, "nope", QUESTION))


def test_embedding(fleet: Fleet) -> None:
    answer = litellm.embedding(
        model=f"ollama/{VECTORS}", api_base=fleet.url, input=["a sheep", "a wheel"], timeout=_TIMEOUT_SECONDS
    )
    assert [len(entry["embedding"]) for entry in answer.data] == [64, 64]
    assert answer.usage.prompt_tokens > 0


async def test_aembedding(fleet: Fleet) -> None:
    answer = await litellm.aembedding(
        model=f"ollama/{VECTORS}", api_base=fleet.url, input=["a sheep"], timeout=_TIMEOUT_SECONDS
    )
    assert [len(entry["embedding"]) for entry in answer.data] == [64]


def test_model_info(fleet: Fleet) -> None:
    info = litellm.OllamaConfig().get_model_info(SMOL, api_base=fleet.url)
    assert info["max_tokens"] == 8192
