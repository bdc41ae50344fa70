"""Templates whose prompt opens the thinking."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import grpc
import pytest

from drover.errors import CapabilityMissing
from drover.rpc import error_from_status
from drover.v1 import engine_pb2 as pb
from tests.engines.llamacpp_tools.answers import (
    ANSWER,
    SCRIPTS,
    THOUGHT,
    arguments_of,
    names_of,
)
from tests.support.answers import answer_to, error_of
from tests.support.chat_requests import chat_with, tool
from tests.support.engine_client import EngineClient, engine_client
from tests.support.processes import worker
from tests.support.scripted_gguf import THINKING_AND_TOOLS, write_scripted_gguf

pytestmark = pytest.mark.real_model


ALWAYS_THINKS = """\
{%- for message in messages -%}
<|im_start|>{{ message.role }}
{{ message.content.split('</think>')[-1] }}<|im_end|>
{% endfor -%}
{%- if add_generation_prompt -%}
<|im_start|>assistant
<think>
{% endif -%}
"""


@pytest.fixture
async def always_thinks(tmp_path: Path) -> AsyncIterator[EngineClient]:
    write_scripted_gguf(tmp_path / "model.gguf", ALWAYS_THINKS, ("Ċ", *SCRIPTS[0][2:]))
    flags = ("--engine", "llamacpp", "--model", str(tmp_path / "model.gguf"), "--slots", "1")
    with worker(tmp_path / "worker.log", *flags) as process:
        async with engine_client(process.address) as client:
            yield client


ALWAYS_THINKS_AND_CALLS = THINKING_AND_TOOLS[: THINKING_AND_TOOLS.index("{% if enable_thinking")] + (
    "<think>\n{% endif -%}\n"
)


@pytest.mark.parametrize("mode", [pb.Think.UNSET, pb.Think.OFF])
async def test_a_forced_call_follows_thinking_that_the_prompt_began(
    tmp_path: Path, mode: pb.Think.Mode.ValueType
) -> None:
    write_scripted_gguf(
        tmp_path / "model.gguf", ALWAYS_THINKS_AND_CALLS, ("Ċ", *SCRIPTS[0][2:]), *SCRIPTS[2:]
    )
    flags = ("--engine", "llamacpp", "--model", str(tmp_path / "model.gguf"), "--slots", "1")
    request = chat_with(tool("get_weather"))
    request.think.mode = mode
    request.tool_choice.mode = pb.ToolChoice.REQUIRED
    request.tool_choice.parallel = False
    with worker(tmp_path / "worker.log", *flags) as process:
        async with engine_client(process.address) as client:
            answer = await answer_to(client, request)
    assert (answer.thinking, answer.content) == (THOUGHT if mode == pb.Think.UNSET else "", "")
    assert (names_of(answer), arguments_of(answer)) == (["get_weather"], {"city": "Paris"})


async def test_a_model_that_always_thinks(always_thinks: EngineClient) -> None:
    capabilities = (await always_thinks.stub.GetModel(pb.GetModelRequest())).capabilities
    assert (capabilities.tools, capabilities.thinking) == (False, True)
    answer = await answer_to(always_thinks, chat_with())
    assert (answer.thinking.strip(), answer.content) == (THOUGHT, ANSWER)
    unwanted = chat_with()
    unwanted.think.mode = pb.Think.OFF
    answer = await answer_to(always_thinks, unwanted)
    assert (answer.thinking, answer.content) == ("", ANSWER)
    assert answer.done.completion_tokens == 11
    assert isinstance(await error_of(always_thinks, chat_with(tool("get_weather"))), CapabilityMissing)
    follow_up = pb.GenerateRequest()
    follow_up.prompt.text = "And then?"
    follow_up.prompt.context.extend(answer.started.prompt_ids)
    assert isinstance(await error_of(always_thinks, follow_up), CapabilityMissing)


async def test_it_cannot_decide(always_thinks: EngineClient) -> None:
    assert not (await always_thinks.stub.GetModel(pb.GetModelRequest())).capabilities.decision
    chat = pb.ScoreItem(label_ids=[1, 2])
    chat.chat.messages.add(role="user", content="Is it so?")
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await always_thinks.stub.Score(pb.ScoreRequest(items=[chat]))
    error = error_from_status(refused.value)
    assert isinstance(error, CapabilityMissing)
    assert "always thinks" in error.message
    raw = pb.ScoreItem(raw="Is it so?", label_ids=[1, 2])
    assert len((await always_thinks.stub.Score(pb.ScoreRequest(items=[raw]))).results) == 1
