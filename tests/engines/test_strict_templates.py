"""llama.cpp with chat templates that refuse conversations.

One wants a single system message at the front; the other wants turns and has no system role.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from drover.errors import InvalidRequest
from drover.v1 import engine_pb2 as pb
from tests.support.answers import error_of
from tests.support.chat_requests import chat, tool
from tests.support.engine_client import EngineClient, engine_client
from tests.support.processes import Process, worker
from tests.support.scripted_gguf import EOS, write_scripted_gguf
from tests.support.sentencepiece_gguf import TEMPLATE as CHATML

pytestmark = pytest.mark.real_model
TEMPLATES = Path(__file__).parent.parent / "support"
ENGINE_WORDS = ("Jinja", "parser", "CallExpression", "raise_exception")


def _process(folder: Path, source: str) -> Iterator[Process]:
    write_scripted_gguf(folder / "model.gguf", source, ("Ċ", "O", "k", ".", EOS))
    flags = ("--model", str(folder / "model.gguf"), "--context-length", "512", "--slots", "2")
    with worker(folder / "worker.log", "--engine", "llamacpp", *flags) as process:
        yield process


def _text_of(template: str) -> str:
    return (TEMPLATES / template).read_text()


@pytest.fixture(scope="module")
def plain_process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Process]:
    """Its template takes any message anywhere."""
    yield from _process(tmp_path_factory.mktemp("plain"), CHATML)


@pytest.fixture
async def plain(plain_process: Process) -> AsyncIterator[EngineClient]:
    async with engine_client(plain_process.address) as client:
        yield client


@pytest.fixture(scope="module")
def strict_process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Process]:
    yield from _process(tmp_path_factory.mktemp("strict"), _text_of("one_system_message.jinja"))


@pytest.fixture(scope="module")
def turns_process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Process]:
    yield from _process(tmp_path_factory.mktemp("turns"), _text_of("taking_turns.jinja"))


@pytest.fixture
async def strict(strict_process: Process) -> AsyncIterator[EngineClient]:
    async with engine_client(strict_process.address) as client:
        yield client


@pytest.fixture
async def turns(turns_process: Process) -> AsyncIterator[EngineClient]:
    async with engine_client(turns_process.address) as client:
        yield client


def conversation(*messages: tuple[str, str]) -> pb.GenerateRequest:
    request = chat(max_tokens=8)
    del request.chat.messages[:]
    for role, content in messages:
        request.chat.messages.add(role=role, content=content)
    return request


async def prompt_of(engine: EngineClient, request: pb.GenerateRequest) -> str:
    return (await engine.stub.Render(pb.RenderRequest(request=request))).text


@pytest.mark.parametrize(
    "messages",
    [
        [("user", "U"), ("assistant", "A"), ("system", "S"), ("user", "V")],
        [("system", "S"), ("system", "T"), ("user", "U")],
        [("system", "S"), ("developer", "D"), ("user", "U")],
        [("user", "U"), ("assistant", "A"), ("system", "S")],
    ],
    ids=["late", "twice", "developer", "last"],
)
@pytest.mark.parametrize("offers_tools", [False, True])
async def test_system_messages_at_any_position(
    strict: EngineClient, messages: list[tuple[str, str]], offers_tools: bool
) -> None:
    request = conversation(*messages)
    if offers_tools:
        request.chat.tools.append(tool("get_weather"))

    prompt = await prompt_of(strict, request)

    assert prompt.count("<|im_start|>system") <= 1
    for _, content in messages:
        assert f"{content}\n" in prompt or f"{content}<|im_end|>" in prompt
    text, _ = await strict.text(request)
    assert text == "Ok."


async def test_messages_stay_where_the_template_accepts_them(plain: EngineClient) -> None:
    messages = [("system", "S"), ("user", "U"), ("assistant", "A"), ("system", "T"), ("user", "V")]

    prompt = await prompt_of(plain, conversation(*messages))

    as_sent = "".join(f"<|im_start|>{role}\n{content}<|im_end|>\n" for role, content in messages)
    assert prompt == f"{as_sent}<|im_start|>assistant\n"


async def test_joined_system_messages_are_apart_by_a_blank_line(strict: EngineClient) -> None:
    request = conversation(("system", "S "), ("user", "U"), ("system", "\nT"), ("user", "V"))
    assert (await prompt_of(strict, request)).startswith(
        "<|im_start|>system\nS\n\nT<|im_end|>\n<|im_start|>user"
    )


async def test_turns_and_no_system_role(turns: EngineClient) -> None:
    request = conversation(
        ("system", "S"), ("user", "U"), ("user", "V"), ("assistant", "A"), ("system", "T"), ("user", "W")
    )
    assert await prompt_of(turns, request) == "[user]S\n\nT\nU\n\nV\n[assistant]A\n[user]W\n[assistant]"


async def test_turns_are_kept_where_the_oldest_messages_give_way(turns: EngineClient) -> None:
    messages = [("user" if at % 2 == 0 else "assistant", f"number {at} " + "word " * 30) for at in range(21)]
    request = conversation(*messages)
    request.context.num_ctx = 128

    rendered = await turns.stub.Render(pb.RenderRequest(request=request))

    assert rendered.truncated_tokens > 0
    assert rendered.text.startswith("[user]")
    assert "number 20" in rendered.text


async def test_a_strict_templates_own_error_is_passed_on(strict: EngineClient) -> None:
    refused = await error_of(strict, conversation(("user", "U"), ("narrator", "N"), ("user", "V")))

    assert isinstance(refused, InvalidRequest)
    assert refused.message == (
        "the model's chat template does not accept these messages: No such role: narrator"
    )
    assert not any(word in refused.message for word in ENGINE_WORDS)


@pytest.mark.parametrize("arguments", ['{"a": "b', "[1]", "Paris", "", '"{\\"a\\": 1}"'])
async def test_any_arguments_of_an_earlier_call_are_shown(strict: EngineClient, arguments: str) -> None:
    request = conversation(("user", "U"), ("assistant", ""), ("tool", "R"))
    request.chat.messages[1].tool_calls.add(id="c", name="f", arguments_json=arguments)

    prompt = await prompt_of(strict, request)

    assert '"name": "f"' in prompt
    for word in ("Paris", "b"):
        assert (word in arguments) <= (word in prompt)
    assert (await strict.text(request))[0] == "Ok."


async def test_a_conversation_without_a_user(strict: EngineClient) -> None:
    request = conversation(("system", "S"), ("assistant", "A"), ("tool", "R"))
    prompt = await prompt_of(strict, request)
    assert [word for word in ("S", "A", "R") if f"\n{word}<|im_end|>" in prompt] == ["S", "A", "R"]
