"""A model on another Ollama server answers as it does there: asked directly, and through a frontend that has
it for a worker.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.support.processes import Process, Stack, frontend, launched, stack, worker
from tests.support.waiting import wait_until
from tests.system.routers import served, side

pytestmark = pytest.mark.real_model

Body = dict[str, Any]
GREEDY = {"temperature": 0, "num_predict": 24}
QUESTION: Body = {"messages": [{"role": "user", "content": "What is the capital of France?"}]}
# What is measured or made anew for each answer.
# The second of two equal questions finds the first one's prompt in the prefix cache.
MEASURED = {
    "created_at", "total_duration", "load_duration", "prompt_eval_cached_count", "prompt_eval_duration",
    "eval_duration",
}  # fmt: skip


class Hosts:
    """The same models at both addresses."""

    def __init__(self, direct: Process, through: Process) -> None:
        self.direct = f"http://{direct.address}"
        self.through = f"http://{through.address}"

    def both(self, route: str, body: Body) -> tuple[httpx.Response, httpx.Response]:
        direct, through = (
            httpx.post(f"{url}{route}", json=body, timeout=60) for url in (self.direct, self.through)
        )
        return direct, through

    def same(self, route: str, body: Body) -> list[Body]:
        """The lines of both, which are the same but for what is measured."""
        direct, through = self.both(route, body)
        assert direct.status_code == through.status_code == 200, through.text
        lines = [
            [_lasting(json.loads(line)) for line in each.text.splitlines()] for each in (direct, through)
        ]
        assert lines[0] == lines[1]
        return lines[0]


def _lasting(line: Body) -> Body:
    for call in line.get("message", {}).get("tool_calls", []):
        assert call.pop("id")
    for logprob in line.get("logprobs", []):
        for each in (logprob, *logprob.get("top_logprobs", [])):
            each["logprob"] = round(each["logprob"], 2)
    return {key: value for key, value in line.items() if key not in MEASURED}


@pytest.fixture(scope="module")
def hosts(real: Stack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hosts]:
    folder: Path = tmp_path_factory.mktemp("hosts")
    (folder / "script.json").write_text(json.dumps(side("scripted")))
    flags = ("--engine=simulator", "--model=scripted", f"--sim-script={folder / 'script.json'}")
    embeds = ("--engine=simulator", "--model=vectors", "--task=embed", "--context-length=64")
    with (
        worker(folder / "scripted.log", *flags) as scripted,
        worker(folder / "vectors.log", *embeds) as vectors,
        frontend(folder / "direct.log", [real.worker.address, scripted.address, vectors.address]) as direct,
    ):
        names = ("smol", "scripted", "vectors")
        wait_until(lambda: set(names) <= served(f"http://{direct.address}"), 30, "all models are there")
        hosted = [f"ollama:http://{direct.address}/{name}" for name in names]
        with frontend(folder / "through.log", hosted) as through:
            wait_until(lambda: set(names) <= served(f"http://{through.address}"), 30, "all are there too")
            yield Hosts(direct, through)


@pytest.mark.parametrize("stream", [True, False])
def test_chats(hosts: Hosts, stream: bool) -> None:
    lines = hosts.same("/api/chat", {"model": "smol", "options": GREEDY, "stream": stream, **QUESTION})
    assert "".join(line["message"]["content"] for line in lines) == "The capital of France is Paris."
    assert lines[-1]["prompt_eval_count"] == 16


def test_formats_logprobs_and_stops(hosts: Hosts) -> None:
    schema = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
    body: Body = {"model": "smol", "options": GREEDY, "stream": False, **QUESTION}
    (answer,) = hosts.same("/api/chat", {**body, "format": schema})
    assert json.loads(answer["message"]["content"]).keys() == {"city"}
    (answer,) = hosts.same("/api/chat", {**body, "logprobs": True, "top_logprobs": 2})
    assert len(answer["logprobs"]) == 7
    (answer,) = hosts.same("/api/chat", {**body, "options": {**GREEDY, "stop": [" is"]}})
    assert answer["message"]["content"] == "The capital of France"


def test_generates_with_a_context_raw_and_system(hosts: Hosts) -> None:
    body: Body = {
        "model": "smol",
        "prompt": "What is the capital of France?",
        "stream": False,
        "options": GREEDY,
    }
    (first,) = hosts.same("/api/generate", body)
    (second,) = hosts.same("/api/generate", {**body, "prompt": "And of Italy?", "context": first["context"]})
    assert second["context"][:10] == first["context"][:10]
    hosts.same("/api/generate", {**body, "raw": True})
    hosts.same("/api/generate", {**body, "system": "Be brief."})


@pytest.mark.parametrize("content", ["#think", "#call", "hello"])
@pytest.mark.parametrize("stream", [True, False])
def test_thinking_and_calls(hosts: Hosts, content: str, stream: bool) -> None:
    tool = {"type": "function", "function": {"name": "get_weather", "parameters": {"type": "object"}}}
    messages = [{"role": "user", "content": content}]
    hosts.same("/api/chat", {"model": "scripted", "messages": messages, "tools": [tool], "stream": stream})


@pytest.mark.parametrize("content", ["#early-scripted", "#late-scripted"])
def test_failures(hosts: Hosts, content: str) -> None:
    body: Body = {"model": "scripted", "messages": [{"role": "user", "content": content}]}
    direct, through = hosts.both("/api/chat", body)
    assert direct.status_code == through.status_code
    assert len(direct.text.splitlines()) == len(through.text.splitlines())
    assert "scripted broke" in through.text.splitlines()[-1]


def test_refusals_are_the_same(hosts: Hosts) -> None:
    image = {"messages": [{"role": "user", "content": "Look", "images": ["aGk="]}]}
    long = {"messages": [{"role": "user", "content": "word " * 5_000}], "truncate": False, "shift": False}
    for body in (image, {**QUESTION, "think": True}, {**QUESTION, "options": {"temperature": "hot"}}, long):
        direct, through = hosts.both("/api/chat", {"model": "smol", **body})
        assert direct.status_code == through.status_code >= 400


def test_vectors(hosts: Hosts) -> None:
    hosts.same("/api/embed", {"model": "vectors", "input": ["one", "two"], "dimensions": 4})
    hosts.same("/api/embeddings", {"model": "vectors", "prompt": "one"})
    direct, through = hosts.both(
        "/api/embed", {"model": "vectors", "input": "word " * 100, "truncate": False}
    )
    assert direct.status_code == through.status_code == 400


def test_decisions(hosts: Hosts) -> None:
    body: Body = {
        "model": "scripted",
        "state": "Customer: I was charged twice.",
        "questions": {
            "refund": {"type": "noul", "instructions": "A refund?", "criteria": {"true": "due"}},
            "team": {
                "type": "choice",
                "instructions": "Which?",
                "criteria": {"billing": "payments", "sales": None},
            },
            "urgency": {"type": "score", "instructions": "How urgent?", "criteria": ["low", "mid", "high"]},
        },
    }
    direct, through = (each.json() for each in hosts.both("/v1/systemone", body))
    assert list(through) == list(direct)
    assert through["usage"] == direct["usage"]
    for name, answer in direct["answers"].items():
        assert list(through["answers"][name]) == list(answer)
        assert _rounded(through["answers"][name]) == _rounded(answer)
    asked = [{"type": "predicate", "instructions": "A refund?"}]
    one, other = (
        each.json()["answers"][0]["probability"]
        for each in hosts.both("/v1/decisions", {"model": "scripted", "input": "x", "questions": asked})
    )
    assert one == pytest.approx(other, abs=1e-6)
    sglang = {
        "model": "scripted",
        "input": "x",
        "questions": [{"id": "q", "type": "yes_no", "question": "?"}],
    }
    _, refused = hosts.both("/v1/decisions", {**sglang, "return_prompt_token_ids": True})
    assert refused.status_code == 400
    assert "on an Ollama server" in refused.text


def _rounded(value: object) -> object:
    if isinstance(value, dict):
        return {name: _rounded(each) for name, each in value.items()}
    return round(value, 6) if isinstance(value, float) else value


def test_models_are_listed_and_shown_as_the_host_has_them(hosts: Hosts) -> None:
    (direct,), (through,) = (
        [each for each in httpx.get(f"{url}/api/tags").json()["models"] if each["name"] == "smol:latest"]
        for url in (hosts.direct, hosts.through)
    )
    assert through["digest"] == direct["digest"]
    assert through["details"] == direct["details"]
    shown, beyond = (each.json() for each in hosts.both("/api/show", {"model": "smol"}))
    for member in ("model_info", "template", "parameters", "capabilities", "license", "details"):
        assert beyond.get(member) == shown.get(member), member


def test_prompts_are_shown_by_the_host(hosts: Hosts) -> None:
    hosts.same("/api/chat", {"model": "smol", "_debug_render_only": True, **QUESTION})


def test_loads_and_unloads(hosts: Hosts) -> None:
    def is_loaded(url: str) -> bool:
        return any(each["name"] == "scripted:latest" for each in httpx.get(f"{url}/api/ps").json()["models"])

    httpx.post(f"{hosts.through}/api/generate", json={"model": "scripted", "keep_alive": "1h"})
    assert is_loaded(hosts.direct)
    wait_until(lambda: is_loaded(hosts.through), 5, "it is seen to be loaded")
    httpx.post(f"{hosts.through}/api/generate", json={"model": "scripted", "keep_alive": 0})
    wait_until(lambda: not is_loaded(hosts.direct), 5, "it is unloaded")
    wait_until(lambda: not is_loaded(hosts.through), 5, "it is seen to be unloaded")


def test_a_host_that_restarts_is_found_again(tmp_path: Path) -> None:
    with stack(tmp_path, ("--engine=simulator", "--model=sim")) as far:
        hosted = f"ollama:{far.url}/sim"
        (tmp_path / "near").mkdir()
        with frontend(tmp_path / "near" / "frontend.log", [hosted]) as near:
            url = f"http://{near.address}"
            body: Body = {"model": "sim", "prompt": "hi", "stream": False, "options": {"num_predict": 3}}
            assert httpx.post(f"{url}/api/generate", json=body).status_code == 200
            far.frontend.stop()
            wait_until(lambda: "sim" not in served(url), 15, "the host is seen to be gone")
            gone = httpx.post(f"{url}/api/generate", json=body)
            assert gone.status_code == 503
            assert "sim" in gone.json()["error"]
            again = ["-m", "frontend", "--listen", far.frontend.address, "--workers", far.worker.address]
            again += ["--database-url", f"sqlite:///{tmp_path / 'again.sqlite3'}"]
            with launched(again, far.frontend.address, tmp_path / "again.log"):
                wait_until(lambda: "sim" in served(url), 30, "the host is found again")
                assert httpx.post(f"{url}/api/generate", json=body).status_code == 200
