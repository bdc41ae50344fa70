"""Keys through the official clients: two frontends, one PostgreSQL, keys made by the command."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import anthropic
import httpx
import ollama
import openai
import pytest

from tests.clients.fleet import Fleet
from tests.clients.keyed_frontends import KeyedFrontends, postgres_url, status
from tests.support.processes import frontend, worker

_MODEL, _OTHER = "sim", "other"
_CHANGE_SECONDS = 2.0
_WRONG = "drv_0123456789abcdef_" + "A" * 43
_MESSAGES = [{"role": "user", "content": "hi"}]


@pytest.fixture(scope="module")
def keyed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KeyedFrontends]:
    folder: Path = tmp_path_factory.mktemp("keys")
    with ExitStack() as started:
        url = started.enter_context(postgres_url())
        engines = [
            started.enter_context(worker(folder / f"{name}.log", "--engine", "simulator", "--model", name))
            for name in (_MODEL, _OTHER)
        ]
        flags = ("--database-url", url, "--require-keys", "--store-responses")
        addresses = [engine.address for engine in engines]
        fronts = [
            started.enter_context(frontend(folder / f"{name}.log", addresses, *flags))
            for name in ("one-front", "two-front")
        ]
        yield KeyedFrontends(tuple(f"http://{each.address}" for each in fronts), url, addresses[0])


@pytest.fixture
def opened() -> Iterator[ExitStack]:
    """Closes the clients of a test."""
    with ExitStack() as clients:
        yield clients


def _openai(opened: ExitStack, url: str, secret: str) -> openai.OpenAI:
    return opened.enter_context(openai.OpenAI(base_url=f"{url}/v1", api_key=secret, max_retries=0))


def _anthropic(opened: ExitStack, url: str, **key: str) -> anthropic.Anthropic:
    return opened.enter_context(anthropic.Anthropic(base_url=url, max_retries=0, **key))


def _ollama(opened: ExitStack, url: str) -> ollama.Client:
    client = ollama.Client(url)
    opened.callback(client._client.close)
    return client


def test_the_official_clients_send_their_keys(
    keyed: KeyedFrontends, opened: ExitStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    secret = keyed.key()
    monkeypatch.setenv("OLLAMA_API_KEY", secret)
    for url in keyed.frontends:
        native = _ollama(opened, url)
        assert native.chat(_MODEL, _MESSAGES).message.content
        assert {model.model for model in native.list().models} == {f"{_MODEL}:latest", f"{_OTHER}:latest"}
        client = _openai(opened, url, secret)
        assert client.chat.completions.create(model=_MODEL, messages=_MESSAGES).choices
        for key in ({"api_key": secret}, {"auth_token": secret}):
            answer = _anthropic(opened, url, **key).messages.create(
                model=_MODEL,
                max_tokens=5,
                messages=_MESSAGES,
            )
            assert answer.content
    assert httpx.get(f"{url}/api/tags", auth=("anybody", secret)).status_code == 200


@pytest.mark.parametrize("secret", ["", _WRONG, "x" * 5_000, "ollama"])
def test_their_errors_say_what_is_missing(
    keyed: KeyedFrontends, opened: ExitStack, monkeypatch: pytest.MonkeyPatch, secret: str
) -> None:
    url = keyed.frontends[0]
    if secret:
        monkeypatch.setenv("OLLAMA_API_KEY", secret)
    else:
        monkeypatch.delenv("OLLAMA_API_KEY", raising=False)
    with pytest.raises(ollama.ResponseError) as native:
        _ollama(opened, url).chat(_MODEL, _MESSAGES)
    assert (native.value.status_code, "key" in native.value.error) == (401, True)
    if secret:
        with pytest.raises(openai.AuthenticationError) as of_openai:
            _openai(opened, url, secret).models.list()
        assert of_openai.value.code == "invalid_api_key"
        with pytest.raises(anthropic.AuthenticationError) as of_anthropic:
            _anthropic(opened, url, api_key=secret).messages.create(
                model=_MODEL,
                max_tokens=5,
                messages=_MESSAGES,
            )
        assert "key" in str(of_anthropic.value.body)
        assert secret not in str(of_anthropic.value)


def test_roles_and_models_through_the_clients(
    keyed: KeyedFrontends, opened: ExitStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = keyed.frontends[0]
    monkeypatch.setenv("OLLAMA_API_KEY", keyed.key("--models", "sim*"))
    user = _ollama(opened, url)
    assert [model.model for model in user.list().models] == [f"{_MODEL}:latest"]
    with pytest.raises(ollama.ResponseError) as hidden:
        user.chat(_OTHER, _MESSAGES)
    with pytest.raises(ollama.ResponseError) as missing:
        user.chat("missing", _MESSAGES)
    assert (hidden.value.status_code, missing.value.status_code) == (404, 404)
    assert hidden.value.error == missing.value.error.replace("missing", _OTHER)
    with pytest.raises(ollama.ResponseError) as forbidden:
        user.create("made", from_=_MODEL)
    assert (forbidden.value.status_code, "admin" in forbidden.value.error) == (403, True)
    monkeypatch.setenv("OLLAMA_API_KEY", keyed.key("--role", "admin"))
    admin = _ollama(opened, url)
    assert admin.create("made", from_=_MODEL).status == "success"
    assert admin.delete("made").status == "success"
    metrics = str(keyed.command("create", "--name", "prometheus", "--role", "metrics")["secret"])
    _await(keyed, metrics, 403)
    assert (status(url, metrics, "/metrics"), status(url, metrics)) == (200, 403)
    assert status(url, keyed.key(), "/metrics") == 403


def test_a_change_counts_on_all_frontends_within_two_seconds(keyed: KeyedFrontends) -> None:
    made = keyed.command("create", "--name", "changing")
    first, key_id = str(made["secret"]), str(made["id"])
    _await(keyed, first, 200)
    second = str(keyed.command("rotate", "changing")["secret"])
    _await(keyed, first, 401)
    _await(keyed, second, 200)
    keyed.command("revoke", key_id)
    _await(keyed, second, 401)


def _await(keyed: KeyedFrontends, secret: str, wanted: int) -> None:
    deadline = time.monotonic() + _CHANGE_SECONDS
    for url in keyed.frontends:
        while status(url, secret) != wanted:
            assert time.monotonic() < deadline, f"no {wanted} at {url}"
            time.sleep(0.05)


def test_stored_responses_stay_the_keys_after_a_rotation(keyed: KeyedFrontends, opened: ExitStack) -> None:
    made = keyed.command("create", "--name", "owner")
    _await(keyed, str(made["secret"]), 200)
    one, two = keyed.frontends
    stored = _openai(opened, one, str(made["secret"])).responses.create(model=_MODEL, input="hi")
    new = str(keyed.command("rotate", "owner")["secret"])
    _await(keyed, new, 200)
    assert _openai(opened, two, new).responses.retrieve(stored.id).id == stored.id
    with pytest.raises(openai.NotFoundError):
        _openai(opened, two, keyed.key()).responses.retrieve(stored.id)


def test_a_server_without_keys_ignores_them(fleet: Fleet, monkeypatch: pytest.MonkeyPatch) -> None:
    """Clients send placeholders."""
    assert status(fleet.url, _WRONG) == status(fleet.url) == 200


def test_keys_are_listed_without_their_secrets(keyed: KeyedFrontends) -> None:
    secret = keyed.key()
    listed = json.dumps(keyed.command("revoke", secret.split("_")[1]))
    assert secret.split("_", 2)[2] not in listed
