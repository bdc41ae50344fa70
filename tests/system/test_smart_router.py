"""The smart router over both tiers: a scripted judge, one side here and one on another Ollama server."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import httpx
import ollama
import pytest

from tests.support.browser import browser
from tests.support.engine_client import engine_client
from tests.support.processes import Stack
from tests.support.waiting import until, wait_until
from tests.system.routers import MODEL, REASON, Body, Routers, ask, routers, went


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Routers]:
    with routers(tmp_path_factory.mktemp("routers")) as started:
        yield started


def test_a_stream_names_ignored_fields_in_headers_and_last_line(running: Routers) -> None:
    with ollama.Client(host=running.url) as client:
        parts = list(client.chat("auto", [{"role": "user", "content": "#big stream"}], stream=True))
    assert "".join(part.message.content or "" for part in parts) == "large says"
    assert len(parts) == 3
    body = {"model": "auto", "messages": [{"role": "user", "content": "#big stream"}]}
    answer = httpx.post(f"{running.url}/api/chat", json=body)
    assert answer.headers[MODEL] == "big:latest"
    *others, last = answer.text.splitlines()
    assert '"routed_model":"big:latest","route_reason":"judge (kept)"' in last
    assert all("routed_model" not in line for line in others)


def test_generate_is_routed_too_and_has_no_context(running: Routers) -> None:
    with ollama.Client(host=running.url) as client:
        answer = client.generate("auto", "#big of generate")
        assert (answer.response, answer.context) == ("large says", None)
        with pytest.raises(ollama.ResponseError, match="token ids"):
            client.generate("auto", "go on", context=[1, 2, 3])


def test_openai_is_routed_too(running: Routers) -> None:
    body: Body = {"model": "auto", "messages": [{"role": "user", "content": "#big of openai"}]}
    answer = httpx.post(f"{running.url}/v1/chat/completions", json=body)
    assert answer.json()["choices"][0]["message"]["content"] == "large says"
    assert (answer.headers[MODEL], answer.json()["routed_model"]) == ("big:latest", "big:latest")
    streamed = httpx.post(f"{running.url}/v1/chat/completions", json=body | {"stream": True})
    assert streamed.headers[MODEL] == "big:latest"
    assert '"routed_model":"big:latest","route_reason":"judge (kept)"}' in streamed.text
    completion = httpx.post(f"{running.url}/v1/completions", json={"model": "auto", "prompt": "#big also"})
    assert completion.json()["choices"][0]["text"] == "large says"


@pytest.mark.parametrize("number", [1, 2])
@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/completions"])
def test_openai_s_requests_can_force_a_side(running: Routers, path: str, number: int) -> None:
    asked: Body = {"prompt": "#big"} if path == "/v1/completions" else {"messages": [{"content": "#big"}]}
    body = {"model": "auto", "n": number, "options": {"route": "local"}, **asked}

    answer = httpx.post(f"{running.url}{path}", json=body)

    assert (answer.headers[MODEL], answer.headers[REASON]) == ("small:latest", "forced")


def test_an_unknown_side_in_openais_requests_is_refused(running: Routers) -> None:
    asked: Body = {"model": "auto", "messages": [{"content": "#big"}], "options": {"route": "moon"}}
    for path in ("/v1/chat/completions", "/v1/tokenize"):
        answer = httpx.post(f"{running.url}{path}", json=asked)
        assert answer.status_code == 400
        assert "moon" in answer.json()["error"]["message"]


@pytest.mark.parametrize("stream", [True, False])
def test_messages_and_responses_are_routed_too(running: Routers, stream: bool) -> None:
    messages = [{"role": "user", "content": "#big of anthropic"}]
    bodies: dict[str, Body] = {
        "/v1/messages": {"messages": messages, "max_tokens": 50},
        "/v1/responses": {"input": "#big of responses"},
    }
    for path, body in bodies.items():
        answer = httpx.post(f"{running.url}{path}", json={"model": "auto", "stream": stream, **body})
        assert answer.headers[MODEL] == "big:latest"
        assert '"routed_model":"big:latest"' in answer.text
        assert "large" in answer.text
        for requested in ({"model": "auto:local"}, {"model": "auto", "options": {"route": "local"}}):
            forced = httpx.post(f"{running.url}{path}", json={"stream": stream, **body, **requested})
            assert forced.headers[MODEL] == "small:latest"


@pytest.mark.parametrize("path", ["chat/completions", "completions", "messages", "responses"])
def test_an_option_names_the_side_in_every_dialect(running: Routers, path: str) -> None:
    body: Body = {"model": "auto", "max_tokens": 50, "options": {"route": "local"}}
    if path in ("completions", "responses"):
        body["prompt" if path == "completions" else "input"] = "#big with an option"
    else:
        body["messages"] = [{"role": "user", "content": "#big with an option"}]
    answer = httpx.post(f"{running.url}/v1/{path}", json=body)
    assert (answer.headers[MODEL], answer.headers[REASON]) == ("small:latest", "forced")
    refused = httpx.post(f"{running.url}/v1/{path}", json={**body, "options": {"route": "moon"}})
    assert (refused.status_code, "moon" in refused.text) == (400, True)


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize(
    ("content", "text"), [("#early-small", "large says"), ("#big #early-large", "small says")]
)
def test_the_other_side_answers_when_the_chosen_one_fails(
    running: Routers, content: str, text: str, stream: bool
) -> None:
    answer = ask(running, content, stream=stream)
    assert answer.status_code == 200
    assert answer.headers[REASON].startswith("fallback after judge")
    said = [
        ollama.ChatResponse.model_validate_json(line).message.content or ""
        for line in answer.text.splitlines()
    ]
    assert "".join(said) == text


def test_a_begun_stream_ends_with_an_error(running: Routers) -> None:
    first, last = ask(running, "#late-small", stream=True).text.splitlines()
    assert '"content":"small"' in first
    assert last == '{"error":"small broke"}'


def test_a_side_that_is_not_served_is_not_chosen(running: Routers) -> None:
    assert went(ask(running, "#big of the lonely", "lonely")) == ("simple", "away")
    refused = ask(running, "#big of the lonely", "lonely:remote")
    assert refused.status_code == 503
    assert "nowhere" in refused.json()["error"]


@pytest.mark.parametrize("word", ["local", "simple", "remote", "complex"])
def test_a_request_names_its_side_in_three_ways(running: Routers, word: str) -> None:
    side = "simple" if word in ("local", "simple") else "complex"
    against = "#big" if side == "simple" else "hello"
    assert went(ask(running, against, f"auto:{word}")) == (side, "forced")
    assert went(ask(running, against, options={"route": word})) == (side, "forced")
    assert went(ask(running, against, headers={"X-Drover-Route": word})) == (side, "forced")


def test_the_body_goes_before_the_header_and_that_before_the_name(running: Routers) -> None:
    remote = {"X-Drover-Route": "remote"}
    assert went(ask(running, "hello", headers=remote, options={"route": "local"})) == ("simple", "forced")
    assert went(ask(running, "hello", "auto:local", headers=remote)) == ("complex", "forced")
    refused = ask(running, "hello", options={"route": "moon"})
    assert (refused.status_code, "moon" in refused.text) == (400, True)


@pytest.mark.parametrize(
    "asked",
    [{"options": {"route": "moon"}}, {"options": {"route": 7}}, {"headers": {"X-Drover-Route": "moon"}}],
)
def test_ordinary_models_have_no_sides(running: Routers, asked: Body) -> None:
    """To Ollama an option that it does not know means nothing."""
    assert ask(running, "hello", "small", **asked).json()["message"]["content"] == "small says"


def test_a_requested_side_that_fails_has_no_fallback(running: Routers) -> None:
    refused = ask(running, "#early-small", "auto:local")
    assert (refused.status_code, refused.json()) == (500, {"error": "small broke"})


def test_options_format_and_thinking_arrive(running: Routers) -> None:
    thought = ask(running, "#think", "auto:remote", think=True).json()["message"]
    assert (thought["thinking"], thought["content"]) == ("Hm.", "large says")
    silent = ask(running, "#think", "auto:remote", options={"num_predict": 1}).json()
    assert (silent["done_reason"], silent["eval_count"]) == ("length", 1)


def test_a_virtual_model_is_shown_like_any_model(running: Routers) -> None:
    with ollama.Client(host=running.url) as client:
        (tag,) = [each for each in client.list().models if each.model == "auto:latest"]
        assert tag.digest is not None
        assert len(tag.digest) == 64
        shown = client.show("auto")
        assert shown.capabilities is not None
        assert set(shown.capabilities) == {"completion", "tools", "thinking"}
        assert shown.modelinfo is not None
        assert shown.modelinfo["smart-router.complex"] == "big:latest"
        client.generate("auto", keep_alive=-1)
        assert "auto:latest" in {each.model for each in client.ps().models}
        client.generate("auto", keep_alive=0)
        wait_until(lambda: "auto:latest" not in _loaded(running), 5, "it is unloaded, with its sides")
        assert not {"small:latest", "judge:latest"} & _loaded(running)
        client.generate("auto", keep_alive="5m")


def _loaded(running: Routers) -> set[str]:
    return {each["name"] for each in httpx.get(f"{running.url}/api/ps").json()["models"]}


def test_a_preset_makes_a_virtual_model_of_served_models(running: Routers) -> None:
    with ollama.Client(host=running.url) as client:
        made: Body = {
            "route_complex": "big",
            "route_judge": "judge",
            "route_default": "complex",
            "route_judge_timeout_seconds": 30,
        }
        client.create("mine", from_="small", system="Be brief.", parameters=made)
        assert went(ask(running, "hello", "mine")) == ("simple", "judge")
        assert went(ask(running, "#big", "mine")) == ("complex", "judge")
        assert went(ask(running, "#broken", "mine")) == ("complex", "judge failed")
        assert went(ask(running, "#big", "mine:local")) == ("simple", "forced")
        assert "mine:latest" in {each.model for each in client.list().models}
        assert "route_complex" in (client.show("mine").parameters or "")
        client.copy("mine", "yours")
        assert went(ask(running, "#big", "yours"))[0] == "complex"
        client.create("brief", from_="auto", system="Be brief.")
        assert went(ask(running, "#big", "brief"))[0] == "complex"
        for name in ("mine", "yours", "brief"):
            client.delete(name)


@pytest.mark.parametrize(
    "complex_side", ["nowhere", "http://127.0.0.1:1/evil", "auto", "ollama:http://127.0.0.1:1/m"]
)
def test_a_preset_may_not_name_hosts_or_unknown_models(running: Routers, complex_side: str) -> None:
    body = {"model": "evil", "from": "small", "parameters": {"route_complex": complex_side}, "stream": False}
    answer = httpx.post(f"{running.url}/api/create", json=body)
    assert (answer.status_code, "route parameters" in answer.text) == (400, True)
    assert httpx.post(f"{running.url}/api/show", json={"model": "evil"}).status_code == 404


@pytest.mark.parametrize("name", ["auto:remote", "auto:local", "Auto:Simple"])
def test_a_preset_cannot_take_the_name_of_a_side(running: Routers, name: str) -> None:
    """A client that asks for the local side may have a reason."""
    with (
        ollama.Client(host=running.url) as client,
        pytest.raises(ollama.ResponseError, match="virtual model"),
    ):
        client.create(name, from_="small", system="x")


def test_a_virtual_model_with_a_tag_has_a_local_side_too(running: Routers) -> None:
    assert went(ask(running, "#big", "tagged:7b")) == ("complex", "judge")
    assert went(ask(running, "#big", "tagged:7b:local")) == ("simple", "forced")


def test_a_router_with_the_name_of_its_side_is_listed_once(running: Routers) -> None:
    ask(running, "hello", "big:remote")
    for path in ("tags", "ps"):
        names = [each["name"] for each in httpx.get(f"{running.url}/api/{path}").json()["models"]]
        assert names.count("big:latest") == 1, path


def test_the_operators_name_cannot_be_taken_by_a_preset(running: Routers) -> None:
    with ollama.Client(host=running.url) as client:
        with pytest.raises(ollama.ResponseError, match="virtual model"):
            client.create("auto", from_="small", system="x")
        with pytest.raises(ollama.ResponseError, match="virtual model"):
            client.delete("auto")


def test_a_virtual_model_refuses_embeddings(running: Routers) -> None:
    answer = httpx.post(f"{running.url}/api/embed", json={"model": "auto", "input": "hi"})
    assert answer.status_code == 501


@pytest.mark.parametrize("stream", [True, False])
async def test_a_client_that_disconnects_frees_the_slot_behind_the_ollama_host(
    running: Routers, stream: bool
) -> None:
    stack = Stack(running.large, running.near)
    async with engine_client(running.large.address) as engine, browser(stack) as client:
        await client.chat("auto:remote", "#endless", stream)
        await until(engine.busy, 5, "the request runs")
        client.leave()
        assert await until(engine.idle, 5, "the slot is free again") < 1


def test_metrics_count_decisions_the_judge_and_fallbacks(running: Routers) -> None:
    def value(line: str) -> float:
        lines = httpx.get(f"{running.url}/metrics").text.splitlines()
        found = [each for each in lines if each.startswith(f"drover_frontend_{line} ")]
        return float(found[0].split()[-1]) if found else 0.0

    judged = 'route_decisions_total{reason="judge",route="simple"}'
    fallbacks = 'route_fallbacks_total{route="simple"}'
    judgements = 'judge_seconds_count{model="judge:latest"}'
    before = {line: value(line) for line in (judged, fallbacks, judgements)}
    ask(running, "#early-small for metrics")
    wait_until(lambda: value(judged) > before[judged], 5, "it is counted")
    assert {line: value(line) - count for line, count in before.items()} == {
        judged: 1,
        fallbacks: 1,
        judgements: 1,
    }


def test_the_remote_server_may_restart(tmp_path: Path) -> None:
    with routers(tmp_path) as started:
        assert went(ask(started, "#big 1"))[0] == "complex"
        started.far.stop()
        gone = ask(started, "#big 2")
        assert gone.headers[REASON] == "fallback after judge"
        assert gone.json()["message"]["content"] == "small says"
        forced = ask(started, "#big 2", "auto:remote")
        assert forced.status_code == 503
