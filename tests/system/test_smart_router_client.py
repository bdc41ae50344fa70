"""The client-side SmartRouter over two Ollama servers, its async twin, and the demonstration."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator

import ollama
import pytest
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Mount
from starlette.types import Receive, Scope, Send

from frontend.smart_router.client.async_client import AsyncSmartRouter
from frontend.smart_router.client.client import SmartRouter
from tests.fakes.http_server import serving
from tests.support.engine_client import engine_client
from tests.support.processes import ROOT, free_port
from tests.support.waiting import until
from tests.system.routers import PROMPTS, Routers, routers

LOCATIONS = {"simple": "Local Ollama", "complex": "Remote SGLang"}
TEXTS = {"simple": "small says", "complex": "large says"}


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Routers]:
    with routers(tmp_path_factory.mktemp("client")) as started:
        yield started


@pytest.fixture
def router(running: Routers) -> Iterator[SmartRouter]:
    """SGLang's arguments, by position."""
    with SmartRouter(running.url, running.far_url, "small", "large", "judge", running.url) as router:
        yield router


@pytest.fixture
async def async_router(running: Routers) -> AsyncIterator[AsyncSmartRouter]:
    hosts, models = (running.url, running.far_url), ("small", "large", "judge")
    async with AsyncSmartRouter(*hosts, *models, judge_timeout_seconds=2) as router:
        yield router


def _text(parts: Iterator[ollama.ChatResponse]) -> str:
    """As SGLang's own demonstration reads them."""
    return "".join(part.get("message", {}).get("content", "") for part in parts)


@pytest.mark.parametrize(("prompt", "side"), PROMPTS.items())
def test_each_prompt_goes_to_its_side(router: SmartRouter, prompt: str, side: str) -> None:
    assert router.chat(prompt) == {
        "content": TEXTS[side],
        "model": {"simple": "small", "complex": "large"}[side],
        "location": LOCATIONS[side],
        "reason": f"{side.title()} task",
    }
    assert router.should_use_remote(prompt) == (side == "complex", f"{side.title()} task")
    assert _text(router.chat_stream(prompt)) == TEXTS[side]


def test_the_last_user_message_of_a_conversation_decides(router: SmartRouter) -> None:
    messages = [
        {"role": "user", "content": "Good morning"},
        {"role": "assistant", "content": "Yes?"},
        {"role": "user", "content": "#big"},
        {"role": "assistant", "content": "Well,"},
    ]
    assert router.chat("define entropy", messages)["location"] == "Remote SGLang"


def test_a_side_can_be_forced(router: SmartRouter) -> None:
    local, remote = router.chat("#big", force_local=True), router.chat("hello", force_remote=True)
    assert (local["location"], local["reason"]) == ("Local Ollama", "Forced local")
    assert (remote["location"], remote["reason"]) == ("Remote SGLang", "Forced remote")
    assert _text(router.chat_stream("#big", force_local=True)) == "small says"


def test_the_other_side_serves_when_one_fails(router: SmartRouter) -> None:
    answer = router.chat("#early-small")
    assert (answer["content"], answer["reason"]) == ("large says", "Fallback from Local Ollama")
    answer = router.chat("#big #early-large")
    assert (answer["content"], answer["reason"]) == ("small says", "Fallback from Remote SGLang")
    assert _text(router.chat_stream("#early-small")) == "large says"


def test_a_begun_stream_is_not_restarted(router: SmartRouter) -> None:
    parts = router.chat_stream("#late-small")
    assert next(parts).message.content == "small"
    with pytest.raises(ollama.ResponseError, match="small broke"):
        list(parts)


def test_a_host_that_is_not_there(running: Routers) -> None:
    nowhere = f"http://127.0.0.1:{free_port()}"
    with SmartRouter(nowhere, running.far_url, "small", "large", "judge", running.url) as away:
        assert away.chat("hello there")["reason"] == "Fallback from Local Ollama"
        assert _text(away.chat_stream("hello there")) == "large says"
    with SmartRouter(running.url, running.far_url, "small", "large", "judge", nowhere) as blind:
        assert blind.chat("#big")["reason"] == "Judge failed, defaulting to local"


@pytest.mark.parametrize("said", ["<html>Log in</html>", '{"message": 7}', "{}", '"words"'])
async def test_a_host_that_answers_something_else(running: Routers, said: str) -> None:
    """SGLang's router takes any failure for one."""

    async def page(scope: Scope, receive: Receive, send: Send) -> None:
        await PlainTextResponse(said)(scope, receive, send)

    models = ("small", "large", "judge")
    async with serving(Starlette(routes=[Mount("/", page)])) as port:
        odd = f"http://127.0.0.1:{port}"
        for hosts, judge, reason in (
            ((odd, running.far_url), running.url, "Fallback from Local Ollama"),
            ((running.url, running.far_url), odd, "Judge failed, defaulting to local"),
        ):
            with SmartRouter(*hosts, *models, judge) as router:
                assert (await asyncio.to_thread(router.chat, "hello there"))["reason"] == reason
                assert await asyncio.to_thread(lambda r: _text(r.chat_stream("hello there")), router)
            async with AsyncSmartRouter(*hosts, *models, judge) as async_router:
                assert (await async_router.chat("hello there"))["reason"] == reason


@pytest.mark.parametrize("content", ["#slow", "#broken"])
def test_without_a_judge_requests_stay_local(running: Routers, content: str) -> None:
    hosts, models = (running.url, running.far_url), ("small", "large", "judge")
    with SmartRouter(*hosts, *models, judge_timeout_seconds=1) as hasty:
        answer = hasty.chat(content)
    assert (answer["location"], answer["reason"]) == ("Local Ollama", "Judge failed, defaulting to local")


def test_further_arguments_are_passed_to_the_client(router: SmartRouter) -> None:
    assert router.chat("hello there", options={"num_predict": 1})["content"] != TEXTS["simple"]


def test_verbose_prints_each_decision(router: SmartRouter, capsys: pytest.CaptureFixture[str]) -> None:
    router.chat("#early-small", verbose=True)
    printed = capsys.readouterr().out
    assert '[Router] LLM Judge: "SIMPLE"' in printed
    assert "[Router] -> Local Ollama | Model: small" in printed
    assert "[Router] Local Ollama failed: small broke" in printed


async def test_the_async_client_does_the_same(async_router: AsyncSmartRouter) -> None:
    for prompt, side in (("hello there", "simple"), ("#big", "complex")):
        answer = await async_router.chat(prompt)
        assert (answer["content"], answer["location"]) == (TEXTS[side], LOCATIONS[side])
        assert await async_router.should_use_remote(prompt) == (side == "complex", f"{side.title()} task")
        parts = [part.message.content or "" async for part in async_router.chat_stream(prompt)]
        assert "".join(parts) == TEXTS[side]
    assert (await async_router.chat("#early-small"))["reason"] == "Fallback from Local Ollama"
    assert (await async_router.chat("#slow"))["reason"] == "Judge failed, defaulting to local"
    fallen = [part.message.content or "" async for part in async_router.chat_stream("#early-small")]
    assert "".join(fallen) == "large says"


async def test_cancelling_the_async_client_frees_the_host(
    running: Routers, async_router: AsyncSmartRouter
) -> None:
    asking = asyncio.create_task(async_router.chat("#endless", force_remote=True))
    async with engine_client(running.large.address) as engine:
        await until(engine.busy, 5, "the request runs")
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking
        assert await until(engine.idle, 5, "the slot is free again") < 1


def test_the_demonstration_shows_each_sides_replies(running: Routers) -> None:
    command = [
        sys.executable, "-m", "frontend.smart_router", "--local-host", running.url, "--local-model", "small",
        "--remote-host", running.far_url, "--remote-model", "large", "--judge-model", "judge",
    ]  # fmt: skip
    said = "hello there\n\n#big\n/remote hello there\n#early-small\nquit\n"
    shown = subprocess.run(
        command, cwd=ROOT, input=said, capture_output=True, text=True, timeout=60, check=True
    )
    assert [line for line in shown.stdout.splitlines() if line.endswith("says")] == [
        "small says", "large says", "large says", "large says",
    ]  # fmt: skip
    assert shown.stdout.endswith("Goodbye!\n")
    assert shown.stderr == ""
