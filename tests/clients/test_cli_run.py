"""`ollama run`, in all of its forms, and `ollama stop`."""

from __future__ import annotations

from typing import Any

import pytest

from tests.clients import go_requests as go
from tests.clients.fleet import (
    ANSWER,
    FREED_SECONDS,
    HARD_QUESTION,
    LONG_QUESTION,
    QUESTION,
    SMOL,
    THINKER,
    THOUGHTS,
    VECTORS,
    Fleet,
)
from tests.clients.go_client import GoClient, GoStatusError, GoStreamError, command
from tests.clients.go_types import CHAT, EMBED, GENERATE, METRICS, PROGRESS, SHOW
from tests.support.engine_client import EngineClient
from tests.support.waiting import until

# As after `/set parameter temperature 0` and `/set parameter num_predict 24`.
GREEDY = {"temperature": 0, "num_predict": 24}


def _shown(cli: GoClient, name: str) -> dict[str, Any]:
    return cli.do("POST", "/api/show", go.show(name), SHOW)


def _load(cli: GoClient, model: str, think: bool | None = None) -> list[dict[str, Any]]:
    cli.do("POST", "/api/show", go.show(model=model), SHOW)
    return list(cli.stream("/api/generate", go.generate(model, think=think), GENERATE))


def _turn(
    cli: GoClient, model: str, messages: list[dict[str, str]], think: bool | None = None
) -> dict[str, str]:
    """The answer as the CLI stores it in its history."""
    body = go.chat(model, messages, options=GREEDY, think=think)
    chunks = list(cli.stream("/api/chat", body, CHAT))
    assert [chunk["done"] for chunk in chunks] == [False] * (len(chunks) - 1) + [True]
    message = {"role": chunks[-1]["message"]["role"], "content": ""}
    for chunk in chunks:
        message["content"] += chunk["message"]["content"]
    if thinking := "".join(chunk["message"].get("thinking", "") for chunk in chunks):
        message["thinking"] = thinking
    return message


def test_interactive(fleet: Fleet) -> None:
    with command(fleet) as cli:
        shown = _shown(cli, SMOL)
        assert "embedding" not in shown["capabilities"]
        assert shown["details"]["parent_model"] == ""
        assert not shown.get("remote_host")
        (loaded,) = _load(cli, SMOL)
        assert (loaded["done"], loaded["done_reason"], loaded["response"]) == (True, "load", "")
        messages = [{"role": "user", "content": QUESTION}]
        answer = _turn(cli, SMOL, messages)
        assert answer == {"role": "assistant", "content": ANSWER}
        again = _turn(cli, SMOL, [*messages, answer, {"role": "user", "content": "And of Italy?"}])
        assert again["content"]


def test_interactive_with_a_model_that_thinks(fleet: Fleet) -> None:
    with command(fleet) as cli:
        assert "thinking" in _shown(cli, THINKER)["capabilities"]
        (loaded,) = _load(cli, THINKER, think=True)
        assert loaded["done_reason"] == "load"
        answer = _turn(cli, THINKER, [{"role": "user", "content": HARD_QUESTION}], think=True)
        assert answer == {"role": "assistant", "content": "It is 391.", "thinking": THOUGHTS}


def test_verbose_prints_metrics(fleet: Fleet) -> None:
    with command(fleet) as cli:
        body = go.chat(SMOL, [{"role": "user", "content": QUESTION}], options=GREEDY)
        last = list(cli.stream("/api/chat", body, CHAT))[-1]
    assert all(last[name] > 0 for name in METRICS)


async def test_ctrl_c_frees_the_slot(fleet: Fleet, thinker_engine: EngineClient) -> None:
    with command(fleet) as cli:
        body = go.chat(THINKER, [{"role": "user", "content": LONG_QUESTION}], options={})
        chunks = cli.stream("/api/chat", body, CHAT)
        assert next(chunks)["message"]["content"]
        assert await thinker_engine.busy()
        cli.close()
        assert await until(thinker_engine.idle, 5, "the slot is free again") < FREED_SECONDS


def test_a_prompt_and_its_context(fleet: Fleet) -> None:
    with command(fleet) as cli:
        _shown(cli, SMOL)
        first = list(cli.stream("/api/generate", go.generate(SMOL, QUESTION, options=GREEDY), GENERATE))
        assert "".join(chunk["response"] for chunk in first) == ANSWER
        context = first[-1]["context"]
        body = go.generate(SMOL, "And of Italy?", context=context, options=GREEDY)
        second = list(cli.stream("/api/generate", body, GENERATE))
    assert second[-1]["context"][: len(context)] == context


def test_a_prompt_with_format_json_and_keepalive(fleet: Fleet) -> None:
    prompt = "Capital of France as JSON with key city."
    body = go.generate(SMOL, prompt, output_format="json", keep_alive="5m0s", options=GREEDY)
    with command(fleet) as cli:
        _shown(cli, SMOL)
        chunks = list(cli.stream("/api/generate", body, GENERATE))
    assert "".join(chunk["response"] for chunk in chunks).startswith("{")


@pytest.mark.parametrize(("think", "thoughts"), [(True, THOUGHTS), ("high", THOUGHTS), (None, THOUGHTS)])
def test_a_prompt_with_think(fleet: Fleet, think: bool | str | None, thoughts: str) -> None:
    body = go.generate(THINKER, HARD_QUESTION, think=think, options={})
    with command(fleet) as cli:
        _shown(cli, THINKER)
        chunks = list(cli.stream("/api/generate", body, GENERATE))
    assert "".join(chunk.get("thinking", "") for chunk in chunks) == thoughts
    assert "".join(chunk["response"] for chunk in chunks) == "It is 391."


def test_think_for_a_model_without_thinking(fleet: Fleet) -> None:
    """The CLI loads the model with `think` to fail before the first question."""
    with command(fleet) as cli:
        _shown(cli, SMOL)
        with pytest.raises(GoStatusError, match="does not support thinking") as refused:
            _load(cli, SMOL, think=True)
    assert refused.value.status == 400


@pytest.mark.parametrize(
    ("body", "dimensions"),
    [
        (go.embed(VECTORS, "a sheep"), 64),
        (go.embed(VECTORS, "a sheep", dimensions=8), 8),
        (go.embed(VECTORS, "a sheep", keep_alive="5m0s", truncate=False), 64),
    ],
)
def test_an_embedding_model(fleet: Fleet, body: bytes, dimensions: int) -> None:
    with command(fleet) as cli:
        assert "embedding" in _shown(cli, VECTORS)["capabilities"]
        answer = cli.do("POST", "/api/embed", body, EMBED)
    assert len(answer["embeddings"][0]) == dimensions


def test_a_missing_model_is_pulled_and_the_error_is_printed(fleet: Fleet) -> None:
    with command(fleet) as cli:
        with pytest.raises(GoStatusError, match="not found") as missing:
            _shown(cli, "nope")
        assert missing.value.status == 404
        with pytest.raises(GoStreamError, match="pull model manifest: file does not exist"):
            list(cli.stream("/api/pull", go.transfer("nope"), PROGRESS))


def test_stop(fleet: Fleet) -> None:
    with command(fleet) as cli:
        cli.do("POST", "/api/show", go.show(model=SMOL), SHOW)
        (answer,) = cli.stream("/api/generate", go.generate(SMOL, keep_alive="0s"), GENERATE)
    assert (answer["done"], answer["done_reason"]) == (True, "unload")


def test_stop_of_a_missing_model(fleet: Fleet) -> None:
    """The CLI looks for this text to name the model."""
    with command(fleet) as cli, pytest.raises(GoStatusError, match="not found"):
        cli.do("POST", "/api/show", go.show(model="nope"), SHOW)
