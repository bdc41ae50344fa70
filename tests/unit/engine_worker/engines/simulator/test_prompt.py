from __future__ import annotations

import pytest

from drover.errors import CapabilityMissing, ContextExceeded, DroverError, InvalidRequest
from drover.v1 import engine_pb2 as pb
from engine_worker.engines.simulator import SimulatorEngine
from engine_worker.engines.simulator.tokens import Tokenizer
from tests.unit.engine_worker.engines.simulator.harness import FAST, answer, raw_request, running

TOKENIZER = Tokenizer(3)
ENGINE = SimulatorEngine(["sim"], FAST)


def message(role: str, content: str) -> pb.Message:
    return pb.Message(role=role, content=content)


HISTORY = [
    message("system", "Be kind."),
    message("user", "first"),
    message("assistant", "second"),
    message("user", "third"),
]


async def rendered(request: pb.GenerateRequest) -> str:
    response = await ENGINE.render(request)
    assert TOKENIZER.decode(response.ids) == response.text
    return response.text


async def test_a_chat_shows_roles_and_contents() -> None:
    assert await rendered(pb.GenerateRequest(chat=pb.ChatInput(messages=HISTORY))) == (
        "<|system|>\nBe kind.\n<|user|>\nfirst\n<|assistant|>\nsecond\n<|user|>\nthird\n<|assistant|>\n"
    )


async def test_an_assistants_last_message_can_be_continued() -> None:
    chat = pb.ChatInput(messages=HISTORY[1:3], continue_last=True)
    assert await rendered(pb.GenerateRequest(chat=chat)) == "<|user|>\nfirst\n<|assistant|>\nsecond"


async def test_tools_and_calls_are_shown() -> None:
    call = pb.ToolCall(name="look", arguments_json='{"a": 1}')
    chat = pb.ChatInput(
        messages=[pb.Message(role="assistant", tool_calls=[call])],
        # One that was loaded later is in a message, and not in the list.
        tools=[pb.Tool(name="look", parameters_json="{}"), pb.Tool(name="later", unlisted=True)],
    )
    assert await rendered(pb.GenerateRequest(chat=chat)) == (
        '<|tools|>\nlook {}\n<|assistant|>\n\nlook {"a": 1}\n<|assistant|>\n'
    )


async def test_a_prompt_is_a_user_turn_behind_its_context() -> None:
    prompt = pb.PromptInput(text="Go on", system="Be kind.", context=TOKENIZER.encode("before "))
    assert await rendered(pb.GenerateRequest(prompt=prompt)) == (
        "before <|system|>\nBe kind.\n<|user|>\nGo on\n<|assistant|>\n"
    )


async def test_raw_text_and_tokens_stay_as_they_are() -> None:
    assert await rendered(raw_request("just this")) == "just this"
    ids = TOKENIZER.encode("these")
    assert await rendered(pb.GenerateRequest(tokens=pb.TokenIds(ids=ids))) == "these"


async def test_generate_uses_the_rendered_prompt() -> None:
    request = pb.GenerateRequest(
        chat=pb.ChatInput(messages=[message("user", "old " * 40), *HISTORY]),
        context=pb.ContextBudget(num_ctx=80),
    )
    shown = await ENGINE.render(request)
    assert shown.truncated_tokens > 0
    assert "old" not in shown.text
    assert "Be kind." in shown.text
    async with running(FAST) as engine:
        started = (await answer(engine, request)).started
    assert started.prompt_ids == shown.ids
    assert started.truncated_tokens == shown.truncated_tokens


async def test_a_long_prompt_keeps_its_end() -> None:
    request = raw_request("lamb " * 50 + "end")
    request.context.num_ctx = 16
    response = await ENGINE.render(request)
    assert len(response.ids) == 8
    assert response.text.endswith("lamb end")


async def test_a_long_prompt_without_truncation_is_refused() -> None:
    request = raw_request("lamb " * 50)
    request.context.num_ctx, request.context.truncate = 16, False
    with pytest.raises(ContextExceeded):
        await ENGINE.render(request)


@pytest.mark.parametrize(
    ("request_", "error", "reason"),
    [
        (pb.GenerateRequest(), InvalidRequest, "no input"),
        (pb.GenerateRequest(raw=""), InvalidRequest, "empty"),
        (pb.GenerateRequest(tokens=pb.TokenIds(ids=[5])), InvalidRequest, "5 is not the id"),
        (pb.GenerateRequest(prompt=pb.PromptInput(context=[5])), InvalidRequest, "5 is not the id"),
        (pb.GenerateRequest(prompt=pb.PromptInput(suffix="")), CapabilityMissing, "fill in the middle"),
        (pb.GenerateRequest(prompt=pb.PromptInput(images=[pb.Media()])), CapabilityMissing, "see images"),
        (
            pb.GenerateRequest(chat=pb.ChatInput(messages=[pb.Message(images=[pb.Media()])])),
            CapabilityMissing,
            "see images",
        ),
    ],
)
async def test_an_invalid_prompt_is_refused(
    request_: pb.GenerateRequest, error: type[DroverError], reason: str
) -> None:
    with pytest.raises(error, match=reason):
        await ENGINE.render(request_)


async def test_text_and_tokens_round_trip() -> None:
    ids = await ENGINE.tokenize("Hej på dig 🐑", True)
    assert await ENGINE.detokenize(ids) == "Hej på dig 🐑"
    with pytest.raises(InvalidRequest):
        await ENGINE.detokenize([1])
