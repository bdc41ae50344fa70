"""`ollama create`, `/save`, `cp`, `rm`, `pull` and `push`."""

from __future__ import annotations

import hashlib
import json
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from tests.clients import go_requests as go
from tests.clients.fleet import ANSWER, QUESTION, SMOL, THINKER, Fleet
from tests.clients.go_client import GoClient, GoStatusError, GoStreamError, command
from tests.clients.go_types import CHAT, GENERATE, LIST, PROGRESS, SHOW
from tests.support.modelfile import commands

MESSAGES = [{"role": "user", "content": "Hi."}, {"role": "assistant", "content": "Ahoy."}]


def _create(cli: GoClient, body: bytes) -> list[str]:
    return [line["status"] for line in cli.stream("/api/create", body, PROGRESS)]


def _remove(cli: GoClient, name: str) -> None:
    """`rm`: the model is stopped first."""
    cli.do("POST", "/api/show", go.show(model=name), SHOW)
    list(cli.stream("/api/generate", go.generate(name, keep_alive="0s"), GENERATE))
    cli.do("DELETE", "/api/delete", go.delete(name))


def _names(cli: GoClient) -> set[str]:
    return {model["name"] for model in cli.do("GET", "/api/tags", kind=LIST)["models"]}


@contextmanager
def refused(status: int, words: str) -> Iterator[None]:
    with pytest.raises(GoStatusError, match=words) as caught:
        yield
    assert caught.value.status == status


@pytest.fixture
def created(fleet: Fleet, new_name: str) -> Iterator[tuple[GoClient, dict[str, Any]]]:
    """Create a model from a Modelfile with FROM, SYSTEM, PARAMETER, MESSAGE and LICENSE lines."""
    body = go.create(
        new_name,
        source=SMOL,
        licenses=["Mine."],
        system="Be a pirate.",
        parameters={"temperature": 0, "num_predict": 7, "stop": ["A", "B"]},
        messages=MESSAGES,
    )
    with command(fleet) as cli:
        assert _create(cli, body)[-1] == "success"
        yield cli, cli.do("POST", "/api/show", go.show(new_name), SHOW)


def test_create_keeps_system_and_messages(created: tuple[GoClient, dict[str, Any]]) -> None:
    _, shown = created
    assert shown["system"] == "Be a pirate."
    assert shown["messages"] == MESSAGES
    assert "Mine." in shown["license"]


def test_create_keeps_parameters(created: tuple[GoClient, dict[str, Any]]) -> None:
    _, shown = created
    lines = {tuple(line.split()) for line in shown["parameters"].splitlines()}
    assert {("temperature", "0"), ("num_predict", "7"), ("stop", '"A"'), ("stop", '"B"')} <= lines


def test_create_inherits_the_model_s_details(created: tuple[GoClient, dict[str, Any]]) -> None:
    _, shown = created
    assert shown["details"]["family"] == "llama"
    assert shown["model_info"]["general.architecture"] == "llama"
    assert shown["capabilities"] == ["completion", "decision"]


def test_a_created_model_is_listed(created: tuple[GoClient, dict[str, Any]], new_name: str) -> None:
    cli, _ = created
    models = {model["name"]: model for model in cli.do("GET", "/api/tags", kind=LIST)["models"]}
    assert len(models[f"{new_name}:latest"]["digest"]) == 64


def test_a_created_model_can_be_run(created: tuple[GoClient, dict[str, Any]], new_name: str) -> None:
    cli, _ = created
    body = go.chat(new_name, [{"role": "user", "content": QUESTION}], options={})
    chunks = list(cli.stream("/api/chat", body, CHAT))
    assert chunks[-1]["model"] == new_name
    # The parameter num_predict counts.
    assert chunks[-1]["eval_count"] <= 7
    # So do the system message and the messages, which make the prompt longer than 16 tokens.
    assert chunks[-1]["prompt_eval_count"] > 25


def test_create_replaces_an_earlier_model(created: tuple[GoClient, dict[str, Any]], new_name: str) -> None:
    cli, _ = created
    assert _create(cli, go.create(new_name, source=SMOL, system="Be brief."))[-1] == "success"
    shown = cli.do("POST", "/api/show", go.show(new_name), SHOW)
    assert shown["system"] == "Be brief."
    assert "messages" not in shown


def test_create_with_a_template(fleet: Fleet, new_name: str) -> None:
    with command(fleet) as cli:
        assert _create(cli, go.create(new_name, source=SMOL, template="{{ .Prompt }}"))[-1] == "success"
        assert cli.do("POST", "/api/show", go.show(new_name), SHOW)["template"] == "{{ .Prompt }}"


@pytest.mark.parametrize("model", [SMOL, THINKER])
def test_the_modelfile_of_show_creates_the_same_model(fleet: Fleet, new_name: str, model: str) -> None:
    """`ollama show --modelfile X > M; ollama create Y -f M`, and again from Y. SMOL's template is Jinja."""
    with command(fleet) as cli:
        shown = cli.do("POST", "/api/show", go.show(model), SHOW)
        for name, origin in ((new_name, model), (f"{new_name}-again", new_name)):
            printed = cli.do("POST", "/api/show", go.show(origin), SHOW)["modelfile"]
            assert _create(cli, _from_modelfile(name, printed))[-1] == "success"
            made = cli.do("POST", "/api/show", go.show(name), SHOW)
            for part in ("template", "system", "parameters", "license", "capabilities"):
                assert made.get(part) == shown.get(part), part
        body = go.chat(new_name, [{"role": "user", "content": QUESTION}], options={"temperature": 0})
        assert list(cli.stream("/api/chat", body, CHAT))[-1]["done"]
        for name in (new_name, f"{new_name}-again"):
            _remove(cli, name)


def _from_modelfile(name: str, text: str) -> bytes:
    """A Modelfile's create request as the CLI sends it: typed parameters, stop texts as a list."""
    read: dict[str, Any] = {"licenses": [], "parameters": {}, "messages": []}
    for key, value in commands(text):
        match key:
            case "from":
                read["source"] = value
            case "template" | "system":
                read[key] = value
            case "license":
                read["licenses"].append(value)
            case "stop":
                read["parameters"].setdefault(key, []).append(value)
            case _:
                read["parameters"][key] = json.loads(value)
    return go.create(name, **read)


def test_create_from_a_created_model(created: tuple[GoClient, dict[str, Any]], new_name: str) -> None:
    cli, _ = created
    second = f"{new_name}-second"
    body = go.create(second, source=new_name, parameters={"temperature": 0.9})
    assert _create(cli, body)[-1] == "success"
    shown = cli.do("POST", "/api/show", go.show(second), SHOW)
    lines = {tuple(line.split()) for line in shown["parameters"].splitlines()}
    assert {("temperature", "0.9"), ("num_predict", "7")} <= lines
    assert shown["system"] == "Be a pirate."
    _remove(cli, second)


def test_save_of_a_session(fleet: Fleet, new_name: str) -> None:
    """`/save`: from the model that runs, with the session's settings and history."""
    with command(fleet) as cli:
        shown = cli.do("POST", "/api/show", go.show(SMOL), SHOW)
        history = [{"role": "user", "content": QUESTION}, {"role": "assistant", "content": ANSWER}]
        body = go.create(
            new_name,
            source=shown["details"]["parent_model"] or SMOL,
            system="Be brief.",
            parameters={"temperature": 0},
            messages=history,
        )
        assert _create(cli, body)[-1] == "success"
        assert cli.do("POST", "/api/show", go.show(new_name), SHOW)["messages"] == history


def test_save_under_a_bad_name(fleet: Fleet) -> None:
    """The CLI looks for this text."""
    with command(fleet) as cli, refused(400, "invalid model name"):
        _create(cli, go.create("a b", source=SMOL))


def test_create_does_not_replace_a_served_model(fleet: Fleet) -> None:
    with command(fleet) as cli, refused(400, SMOL):
        _create(cli, go.create(SMOL, source=SMOL, system="Be a pirate."))


def test_a_file_is_sent_once(fleet: Fleet) -> None:
    content = secrets.token_bytes(100_000)
    path = f"/api/blobs/sha256:{hashlib.sha256(content).hexdigest()}"
    with command(fleet) as cli:
        with refused(404, ""):
            cli.do("HEAD", path)
        assert cli.upload(path, content) == 201
        cli.do("HEAD", path)
        assert cli.upload(path, content) == 200


def test_a_file_with_another_digest(fleet: Fleet) -> None:
    with command(fleet) as cli, refused(400, "digest mismatch"):
        cli.upload(f"/api/blobs/sha256:{'0' * 64}", b"hello")


def test_create_from_files_fails_with_the_reason(fleet: Fleet, new_name: str) -> None:
    """Weights are served by workers."""
    content = secrets.token_bytes(64)
    digest = f"sha256:{hashlib.sha256(content).hexdigest()}"
    with command(fleet) as cli:
        assert cli.upload(f"/api/blobs/{digest}", content) == 201
        with pytest.raises((GoStatusError, GoStreamError), match="worker"):
            _create(cli, go.create(new_name, files={"model.gguf": digest}))
        assert f"{new_name}:latest" not in _names(cli)


def test_copy_and_remove(created: tuple[GoClient, dict[str, Any]], new_name: str) -> None:
    cli, shown = created
    other = f"{new_name}-copy"
    cli.do("POST", "/api/copy", go.copy(new_name, other))
    copied = cli.do("POST", "/api/show", go.show(other), SHOW)
    assert (copied["system"], copied["parameters"]) == (shown["system"], shown["parameters"])
    _remove(cli, other)
    assert f"{other}:latest" not in _names(cli)


def test_copy_of_a_served_model(fleet: Fleet, new_name: str) -> None:
    """A second name, for editors that accept certain names only."""
    with command(fleet) as cli:
        cli.do("POST", "/api/copy", go.copy(SMOL, new_name))
        body = go.chat(new_name, [{"role": "user", "content": QUESTION}], options={"temperature": 0})
        chunks = list(cli.stream("/api/chat", body, CHAT))
        _remove(cli, new_name)
    assert "".join(chunk["message"]["content"] for chunk in chunks) == ANSWER


@pytest.mark.parametrize(
    ("source", "destination", "status", "words"),
    [
        ("nope", "other", 404, 'model "nope" not found'),
        (SMOL, "a b", 400, 'destination "a b" is invalid'),
        ("a b", "other", 400, 'source "a b" is invalid'),
    ],
)
def test_copies_that_fail(fleet: Fleet, source: str, destination: str, status: int, words: str) -> None:
    with command(fleet) as cli, refused(status, words):
        cli.do("POST", "/api/copy", go.copy(source, destination))


def test_copy_does_not_replace_a_served_model(
    created: tuple[GoClient, dict[str, Any]], new_name: str
) -> None:
    cli, _ = created
    with refused(400, SMOL):
        cli.do("POST", "/api/copy", go.copy(new_name, SMOL))


def test_a_served_model_is_not_removed(fleet: Fleet) -> None:
    with command(fleet) as cli:
        with refused(400, SMOL):
            _remove(cli, SMOL)
        assert f"{SMOL}:latest" in _names(cli)


@pytest.mark.parametrize(("name", "status", "words"), [("nope", 404, "not found"), ("a b", 400, "invalid")])
def test_removals_that_fail(fleet: Fleet, name: str, status: int, words: str) -> None:
    with command(fleet) as cli, refused(status, words):
        cli.do("DELETE", "/api/delete", go.delete(name))


@pytest.mark.parametrize("insecure", [False, True])
def test_pull_of_a_served_model(fleet: Fleet, insecure: bool) -> None:
    with command(fleet) as cli:
        lines = list(cli.stream("/api/pull", go.transfer(SMOL, insecure=insecure), PROGRESS))
    assert lines[-1]["status"] == "success"
    # A line with a digest is a bar, whose title is made of the digest's characters 7 to 19.
    assert all(len(line["digest"]) >= 19 for line in lines if line.get("digest"))


def test_pull_of_a_created_model(created: tuple[GoClient, dict[str, Any]], new_name: str) -> None:
    cli, _ = created
    lines = list(cli.stream("/api/pull", go.transfer(new_name), PROGRESS))
    assert lines[-1]["status"] == "success"


def test_pull_of_a_model_that_is_not_served(fleet: Fleet) -> None:
    with command(fleet) as cli, pytest.raises(GoStreamError) as failed:
        list(cli.stream("/api/pull", go.transfer("nope"), PROGRESS))
    assert str(failed.value).startswith("pull model manifest: file does not exist")
    # And what to do about it.
    assert "worker" in str(failed.value)


def test_pull_of_a_bad_name(fleet: Fleet) -> None:
    with command(fleet) as cli, refused(400, "invalid model name"):
        list(cli.stream("/api/pull", go.transfer("a b"), PROGRESS))


def test_push_fails_with_a_reason(fleet: Fleet) -> None:
    with command(fleet) as cli, pytest.raises((GoStatusError, GoStreamError), match="push"):
        list(cli.stream("/api/push", go.transfer(SMOL), PROGRESS))
