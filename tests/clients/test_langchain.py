"""langchain-ollama: chats, completions, embeddings, tools, structured output, thinking."""

from __future__ import annotations

import pytest
from langchain_core.messages import AIMessage, AIMessageChunk, HumanMessage, SystemMessage, ToolMessage
from langchain_core.tools import tool
from langchain_ollama import ChatOllama, OllamaEmbeddings, OllamaLLM
from ollama import ResponseError
from pydantic import BaseModel, create_model

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


class Capital(BaseModel):
    """The capital of a country."""

    city: str


def get_weather(city: str) -> str:
    """Tells the weather."""
    return f"Rain in {city}."


WEATHER_TOOL = tool(get_weather)


@pytest.fixture
def smol(fleet: Fleet) -> ChatOllama:
    return ChatOllama(
        base_url=fleet.url, model=SMOL, temperature=0, num_predict=60, validate_model_on_init=True
    )


@pytest.fixture
def thinker(fleet: Fleet) -> ChatOllama:
    return ChatOllama(base_url=fleet.url, model=THINKER)


def test_invoke(smol: ChatOllama) -> None:
    answer = smol.invoke(QUESTION)
    assert answer.content == ANSWER
    assert answer.response_metadata["done_reason"] == "stop"
    assert answer.usage_metadata == {"input_tokens": 16, "output_tokens": 8, "total_tokens": 24}


def test_invoke_with_messages(smol: ChatOllama) -> None:
    messages = [
        SystemMessage("Be brief."),
        HumanMessage(QUESTION),
        AIMessage("Paris."),
        HumanMessage("Sure?"),
    ]
    answer = smol.invoke(messages)
    assert answer.content
    assert answer.usage_metadata is not None
    assert answer.usage_metadata["input_tokens"] > 24


def test_stream(smol: ChatOllama) -> None:
    chunks = list(smol.stream(QUESTION))
    assert len(chunks) > 5
    assert "".join(str(chunk.content) for chunk in chunks) == ANSWER


async def test_ainvoke_and_astream(smol: ChatOllama) -> None:
    whole = await smol.ainvoke(QUESTION)
    chunks = [chunk async for chunk in smol.astream(QUESTION)]
    assert "".join(str(chunk.content) for chunk in chunks) == whole.content == ANSWER


def test_stop(smol: ChatOllama) -> None:
    assert smol.invoke(QUESTION, stop=["Paris"]).content == "The capital of France is "


def test_bind_tools(thinker: ChatOllama) -> None:
    model = thinker.bind_tools([WEATHER_TOOL])
    question = HumanMessage(WEATHER_QUESTION)
    answer = model.invoke([question])
    (call,) = answer.tool_calls
    assert (call["name"], call["args"]) == ("get_weather", {"city": "Paris"})
    result = WEATHER_TOOL.invoke(call)
    assert isinstance(result, ToolMessage)
    last = model.invoke([question, answer, result, HumanMessage(HARD_QUESTION)])
    assert last.content == "It is 391."


def test_bind_tools_streams(thinker: ChatOllama) -> None:
    total = AIMessageChunk("")
    for chunk in thinker.bind_tools([WEATHER_TOOL]).stream(WEATHER_QUESTION):
        total += chunk
    assert [(call["name"], call["args"]) for call in total.tool_calls] == [("get_weather", {"city": "Paris"})]


@pytest.mark.parametrize("method", ["json_schema", "json_mode"])
def test_with_structured_output(smol: ChatOllama, method: str) -> None:
    question = "What is the capital of France? Answer as JSON with the key city."
    answer = smol.with_structured_output(Capital, method=method).invoke(question)
    assert isinstance(answer, Capital)
    assert "Paris" in answer.city


def test_with_structured_output_by_a_tool(fleet: Fleet) -> None:
    model = ChatOllama(base_url=fleet.url, model=THINKER)
    schema = create_model("get_weather", city=(str, ...))
    answer = model.with_structured_output(schema, method="function_calling").invoke(WEATHER_QUESTION)
    assert answer == schema(city="Paris")


@pytest.mark.parametrize("level", [True, "low"])
def test_reasoning(fleet: Fleet, level: bool | str) -> None:
    model = ChatOllama(base_url=fleet.url, model=THINKER, reasoning=level)
    answer = model.invoke(HARD_QUESTION)
    assert answer.content == "It is 391."
    assert answer.additional_kwargs["reasoning_content"] == THOUGHTS


def test_reasoning_streams(fleet: Fleet) -> None:
    model = ChatOllama(base_url=fleet.url, model=THINKER, reasoning=True)
    chunks = list(model.stream(HARD_QUESTION))
    thoughts = [chunk.additional_kwargs.get("reasoning_content", "") for chunk in chunks]
    assert "".join(thoughts) == THOUGHTS
    assert "".join(str(chunk.content) for chunk in chunks) == "It is 391."


def test_logprobs(fleet: Fleet) -> None:
    model = ChatOllama(base_url=fleet.url, model=SMOL, temperature=0, num_predict=24, logprobs=True)
    entries = model.invoke(QUESTION).response_metadata["logprobs"]
    assert "".join(entry["token"] for entry in entries) == ANSWER


def test_a_missing_model(fleet: Fleet) -> None:
    with pytest.raises(ResponseError, match="model 'nope' not found"):
        ChatOllama(base_url=fleet.url, model="nope").invoke(QUESTION)
    with pytest.raises(ValueError, match="nope"):
        ChatOllama(base_url=fleet.url, model="nope", validate_model_on_init=True)


async def test_completions(fleet: Fleet) -> None:
    model = OllamaLLM(base_url=fleet.url, model=SMOL, temperature=0, num_predict=24)
    assert model.invoke(QUESTION) == await model.ainvoke(QUESTION) == ANSWER
    assert "".join(model.stream(QUESTION)) == ANSWER
    assert "".join([piece async for piece in model.astream(QUESTION)]) == ANSWER


async def test_embeddings(fleet: Fleet) -> None:
    model = OllamaEmbeddings(base_url=fleet.url, model=VECTORS)
    vectors = model.embed_documents(["a sheep", "a wheel"])
    assert [len(vector) for vector in vectors] == [64, 64]
    assert model.embed_query("a sheep") == await model.aembed_query("a sheep") == vectors[0]
