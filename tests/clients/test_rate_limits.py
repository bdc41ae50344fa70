"""Limits of keys through the official clients: two frontends, one PostgreSQL, keys made by the command."""

from __future__ import annotations

import json
import time
from collections.abc import Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from dataclasses import replace
from pathlib import Path

import anthropic
import ollama
import openai
import pytest

from tests.clients.keyed_frontends import KeyedFrontends as Limited
from tests.clients.keyed_frontends import postgres_url
from tests.support.processes import Process, frontend, worker

_MODEL = "sim"
_LOST_SECONDS = 10.0


@pytest.fixture(scope="module")
def limited(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Limited]:
    folder: Path = tmp_path_factory.mktemp("limits")
    script = folder / "script.json"
    script.write_text(json.dumps([{"match": "Count", "events": [{"text": "more ", "repeat": 100_000}]}]))
    flags = ("--engine", "simulator", "--model", _MODEL, "--sim-script", str(script))
    with postgres_url() as url, worker(folder / "worker.log", *flags) as engine:
        database = ("--database-url", url)
        with (
            frontend(folder / "one.log", [engine.address], *database) as one,
            frontend(folder / "two.log", [engine.address], *database) as two,
        ):
            yield Limited((_url(one), _url(two)), url, engine.address)


def _url(process: Process) -> str:
    return f"http://{process.address}"


def _openai(url: str, secret: str, retries: int = 0) -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{url}/v1", api_key=secret, max_retries=retries, timeout=30)


@pytest.fixture
def opened() -> Iterator[ExitStack]:
    """Closes the clients of a test."""
    with ExitStack() as clients:
        yield clients


def _ask(client: openai.OpenAI, text: str = "hi") -> bool:
    try:
        client.chat.completions.create(
            model=_MODEL, messages=[{"role": "user", "content": text}], max_tokens=3
        )
    except openai.RateLimitError:
        return False
    return True


def test_two_frontends_hold_one_limit(limited: Limited, opened: ExitStack) -> None:
    secret = limited.key("--requests-per-minute", "10")
    clients = [opened.enter_context(_openai(url, secret)) for url in limited.frontends]
    with ThreadPoolExecutor(8) as pool:
        admitted = list(pool.map(lambda number: _ask(clients[number % 2]), range(30)))
    # At six seconds per request, the run itself may bring one more.
    assert sum(admitted) in (10, 11)


def test_openais_client_waits_for_retry_after_and_sends_again(limited: Limited, opened: ExitStack) -> None:
    secret = limited.key("--requests-per-minute", "60")
    one, two = (opened.enter_context(_openai(url, secret)) for url in limited.frontends)
    for client in (one, two) * 30:
        _ask(client)
    while _ask(one):
        continue
    with pytest.raises(openai.RateLimitError) as refused:
        one.chat.completions.create(model=_MODEL, messages=[{"role": "user", "content": "hi"}], max_tokens=3)
    assert (refused.value.code, refused.value.type) == ("rate_limit_exceeded", "requests")
    assert "requests_per_minute of this key is 60" in refused.value.message
    assert refused.value.response.headers["retry-after"] == "1"
    began = time.monotonic()
    assert _ask(opened.enter_context(_openai(limited.frontends[1], secret, retries=2)))
    assert time.monotonic() - began < 3


def test_openais_headers_are_read_from_the_raw_response(limited: Limited, opened: ExitStack) -> None:
    secret = limited.key("--requests-per-minute", "6", "--tokens-per-minute", "5000")
    client = opened.enter_context(_openai(limited.frontends[0], secret))
    raw = client.chat.completions.with_raw_response.create(
        model=_MODEL, messages=[{"role": "user", "content": "hi"}], max_tokens=3
    )
    assert raw.headers["x-ratelimit-limit-requests"] == "6"
    assert raw.headers["x-ratelimit-remaining-requests"] == "5"
    assert raw.headers["x-ratelimit-limit-tokens"] == "5000"
    stream = client.responses.with_raw_response.create(model=_MODEL, input="hi", stream=True)
    assert stream.headers["x-ratelimit-remaining-requests"] == "4"
    stream.parse().close()


def test_anthropics_client_raises_its_own_error_and_reads_its_headers(
    limited: Limited, opened: ExitStack
) -> None:
    secret = limited.key("--requests-per-minute", "1")
    client = opened.enter_context(
        anthropic.Anthropic(base_url=limited.frontends[0], api_key=secret, max_retries=0, timeout=30)
    )
    ask = {"model": _MODEL, "max_tokens": 3, "messages": [{"role": "user", "content": "hi"}]}
    raw = client.messages.with_raw_response.create(**ask)
    assert raw.headers["anthropic-ratelimit-requests-limit"] == "1"
    assert raw.headers["anthropic-ratelimit-requests-remaining"] == "0"
    with pytest.raises(anthropic.RateLimitError) as refused:
        client.messages.create(**ask)
    assert refused.value.response.json()["error"]["type"] == "rate_limit_error"
    assert 55 < int(refused.value.response.headers["retry-after"]) <= 60


def test_anthropics_client_does_not_sleep_for_minutes(limited: Limited, opened: ExitStack) -> None:
    secret = limited.key("--tokens-per-minute", "10")
    client = opened.enter_context(
        anthropic.Anthropic(base_url=limited.frontends[0], api_key=secret, timeout=30)
    )
    ask = {"model": _MODEL, "max_tokens": 60, "messages": [{"role": "user", "content": "Count"}]}
    client.messages.create(**ask)
    began = time.monotonic()
    with pytest.raises(anthropic.RateLimitError, match="tokens_per_minute of this key is 10") as refused:
        client.messages.create(**ask)
    assert int(refused.value.response.headers["retry-after"]) > 120
    assert time.monotonic() - began < _LOST_SECONDS


def test_ollamas_client_shows_the_limit(limited: Limited, opened: ExitStack) -> None:
    secret = limited.key("--streams", "1")
    headers = {"authorization": f"Bearer {secret}"}
    one, two = (
        opened.enter_context(closing(ollama.Client(url, headers=headers))) for url in limited.frontends
    )
    running = one.generate(_MODEL, "Count for ever.", stream=True)
    assert isinstance(running, Generator)
    next(running)
    with pytest.raises(ollama.ResponseError, match="streams of this key is 1") as refused:
        two.generate(_MODEL, "hi")
    assert refused.value.status_code == 429
    running.close()
    _until_admitted(two)


def _until_admitted(client: ollama.Client) -> None:
    deadline = time.monotonic() + 2 * _LOST_SECONDS
    while not _is_admitted(client):
        assert time.monotonic() < deadline, "the stream is not free again"


def _is_admitted(client: ollama.Client) -> bool:
    """Raises every error but a refusal."""
    try:
        client.generate(_MODEL, "hi", options={"num_predict": 2})
    except ollama.ResponseError as error:
        if error.status_code != 429:
            raise
        return False
    return True


def test_streams_of_a_killed_frontend_are_free_again(
    limited: Limited, opened: ExitStack, tmp_path: Path
) -> None:
    secret = limited.key("--streams", "1")
    headers = {"authorization": f"Bearer {secret}"}
    with frontend(tmp_path / "three.log", [limited.worker], "--database-url", limited.database_url) as three:
        joined = replace(limited, frontends=(*limited.frontends, _url(three)))
        joined.wait_until_known(_url(three), secret)
        killed = opened.enter_context(closing(ollama.Client(_url(three), headers=headers)))
        running = killed.generate(_MODEL, "Count for ever.", stream=True)
        assert isinstance(running, Generator)
        next(running)
        survivor = opened.enter_context(closing(ollama.Client(limited.frontends[0], headers=headers)))
        with pytest.raises(ollama.ResponseError, match="streams of this key is 1"):
            survivor.generate(_MODEL, "hi")
        three.popen.kill()
        running.close()
        began = time.monotonic()
        _until_admitted(survivor)
    assert time.monotonic() - began < _LOST_SECONDS + 3
