"""Chat templates that refuse conversations, in SGLang's own rendering."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from drover.errors import InvalidRequest
from tests.engines.test_strict_templates import TEMPLATES, conversation, prompt_of
from tests.support.answers import error_of
from tests.support.engine_client import EngineClient, engine_client
from tests.support.processes import SMALL_CACHE, Process, worker


@pytest.fixture(scope="module", params=["one_system_message.jinja"])
def strict_process(
    request: pytest.FixtureRequest, thinker_model: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Process]:
    template = ("--chat-template", str(TEMPLATES / request.param))
    flags = ("--engine", "sglang", "--model", str(thinker_model), *template, SMALL_CACHE)
    with worker(tmp_path_factory.mktemp("strict") / "worker.log", *flags) as process:
        yield process


@pytest.fixture
async def strict(strict_process: Process) -> AsyncIterator[EngineClient]:
    async with engine_client(strict_process.address) as client:
        yield client


@pytest.mark.parametrize(
    "messages",
    [
        [("user", "U"), ("assistant", "A"), ("system", "S"), ("user", "V")],
        [("system", "S"), ("system", "T"), ("user", "U")],
        [("system", "S"), ("developer", "D"), ("user", "U")],
        [("user", "U"), ("assistant", "A"), ("system", "S")],
        [("system", "S"), ("assistant", "A")],
    ],
    ids=["late", "twice", "developer", "last", "no user"],
)
async def test_system_messages_at_any_position(strict: EngineClient, messages: list[tuple[str, str]]) -> None:
    request = conversation(*messages)

    prompt = await prompt_of(strict, request)

    assert prompt.count("<|im_start|>system") <= 1
    for _, content in messages:
        assert f"{content}\n" in prompt or f"{content}<|im_end|>" in prompt
    assert (await strict.text(request))[1].completion_tokens > 0


async def test_a_strict_templates_own_error_is_passed_on(strict: EngineClient) -> None:
    refused = await error_of(strict, conversation(("user", "U"), ("narrator", "N"), ("user", "V")))

    assert isinstance(refused, InvalidRequest)
    assert refused.message == (
        "the model's chat template does not accept these messages: No such role: narrator"
    )
