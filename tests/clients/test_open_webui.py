"""The requests of Open WebUI's server for its model pages, in its order. Open WebUI itself
takes gigabytes with torch, so its requests are made here by hand.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import datetime

import httpx
import pytest

from tests.clients.fleet import SMOL as _SMOL
from tests.clients.fleet import Fleet

# Its pages know models by their whole names.
SMOL = f"{_SMOL}:latest"
_SECONDS = 30.0


@pytest.fixture
def webui(fleet: Fleet) -> Iterator[httpx.Client]:
    headers = {
        "Content-Type": "application/json",
        "X-OpenWebUI-User-Name": "Ada",
        "Authorization": "Bearer k",
    }
    with httpx.Client(base_url=fleet.url, headers=headers, timeout=_SECONDS) as client:
        yield client


def _lines(response: httpx.Response) -> list[dict[str, object]]:
    assert response.status_code == 200, response.text
    return [json.loads(line) for line in response.text.splitlines()]


def _models(webui: httpx.Client) -> dict[str, dict[str, object]]:
    """The models by `model`, the page's key."""
    response = webui.get("/api/tags")
    return {model["model"]: model for model in response.json()["models"]}


def test_the_version_is_comparable(webui: httpx.Client) -> None:
    version = webui.get("/api/version").json()["version"]

    assert tuple(map(int, version.split("."))) > (0, 6, 4)


def test_the_list_of_models_is_joined_with_the_loaded_ones(webui: httpx.Client) -> None:
    webui.post("/api/generate", json={"model": SMOL, "keep_alive": "5m"})
    loaded = {model["name"]: model["expires_at"] for model in webui.get("/api/ps").json()["models"]}

    assert loaded[SMOL]
    assert SMOL in _models(webui)
    for expires_at in loaded.values():
        assert datetime.fromisoformat(expires_at).tzinfo is not None


def test_a_model_is_built_copied_shown_and_deleted(webui: httpx.Client, new_name: str) -> None:
    form = {"model": new_name, "stream": True, "from": SMOL, "system": "Be brief."}
    steps = _lines(webui.post("/api/create", content=json.dumps(form)))
    assert steps[-1] == {"status": "success"}
    name = f"{new_name}:latest"
    assert name in _models(webui)

    shown = webui.post("/api/show", content=json.dumps({"model": name, "name": name})).json()
    assert shown["system"] == "Be brief."
    assert shown["details"]["parent_model"] == SMOL

    copy = f"{new_name}-copy:latest"
    assert webui.post("/api/copy", json={"source": name, "destination": copy}).status_code == 200
    for each in (name, copy):
        body = json.dumps({"name": each, "model": each}).encode()
        assert webui.request("DELETE", "/api/delete", content=body).status_code == 200
    assert not {name, copy} & set(_models(webui))


def test_pulling_reports_progress(webui: httpx.Client) -> None:
    steps = _lines(webui.post("/api/pull", json={"model": SMOL, "name": SMOL, "insecure": True}))

    bars = [step for step in steps if "digest" in step]
    assert all(step["completed"] == step["total"] for step in bars)
    assert steps[-1] == {"status": "success"}


def test_pulling_an_unknown_model_ends_with_the_reason(webui: httpx.Client) -> None:
    steps = _lines(webui.post("/api/pull", json={"model": "nope", "name": "nope", "insecure": True}))

    assert "file does not exist" in str(steps[-1]["error"])


def test_an_empty_prompt_unloads_the_model(webui: httpx.Client) -> None:
    answer = webui.post("/api/generate", json={"model": SMOL, "keep_alive": 0, "prompt": ""}).json()

    assert (answer["done"], answer["done_reason"]) == (True, "unload")


def test_a_chat_streams_with_the_fields_that_it_sends(webui: httpx.Client) -> None:
    body = {
        "model": SMOL,
        "messages": [{"role": "user", "content": "What is the capital of France?"}],
        "stream": True,
        "options": {"temperature": 0, "num_predict": 8},
        "keep_alive": "5m",
    }
    answer = webui.post("/api/chat", content=json.dumps(body))

    assert answer.status_code == 200
    lines = [json.loads(line) for line in answer.text.splitlines()]
    assert "Paris" in "".join(line["message"]["content"] for line in lines)
    assert lines[-1]["done"] is True
