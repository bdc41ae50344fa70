"""SGLang's and vLLM's extensions: what each field changes in the engine's request, and what is refused."""

from __future__ import annotations

import json
from collections.abc import Mapping

import pytest

from drover.json_value import Json
from drover.v1 import engine_pb2 as pb
from frontend.api.openai.extras.table import CHAT, COMPLETIONS, EXTRAS, RESPONSES, Extra
from frontend.api.openai.extras.unread import REFUSALS, UNUSED
from tests.fakes.stalling_worker import StallingWorker, content, default_model, done, started
from tests.unit.frontend.api.conftest import Frontend, Start

_CHAT = "/v1/chat/completions"
_COMPLETIONS = "/v1/completions"
_RESPONSES = "/v1/responses"
_TURNS: Json = [{"role": "user", "content": "x"}]
_BEGUN: Json = [{"role": "user", "content": "x"}, {"role": "assistant", "content": "Once"}]
_BODIES: Mapping[str, dict[str, Json]] = {
    _CHAT: {"model": "m", "messages": _TURNS},
    _COMPLETIONS: {"model": "m", "prompt": "x"},
    _RESPONSES: {"model": "m", "input": "x"},
}
_PATHS = {CHAT: _CHAT, COMPLETIONS: _COMPLETIONS, RESPONSES: _RESPONSES}
_ALL = pytest.mark.parametrize("path", sorted(_BODIES))
_BOTH = pytest.mark.parametrize("path", [_CHAT, _COMPLETIONS])


def _worker(**capabilities: bool) -> StallingWorker:
    model = default_model()
    model.capabilities.MergeFrom(pb.Capabilities(json_constraint=True, **capabilities))
    return StallingWorker(steps=[started(), content("a"), done()], described=model)


async def _asked(
    frontend: Frontend, path: str, more: Mapping[str, Json], headers: Mapping[str, str] | None = None
) -> pb.GenerateRequest:
    body = {**_BODIES[path], "temperature": 0, **more}
    answer = await frontend.client.post(path, json=body, headers=dict(headers or {}))
    assert answer.status_code == 200, answer.text
    return frontend.worker.handles[-1].request


@pytest.mark.parametrize(
    ("more", "expected"),
    [
        ({"top_k": -1}, pb.Sampling(top_k=0)),
        ({"top_k": 7}, pb.Sampling(top_k=7)),
        ({"min_p": 0.25}, pb.Sampling(min_p=0.25)),
        ({"repetition_penalty": 1.5}, pb.Sampling(repeat_penalty=1.5, repeat_last_n=-1)),
        (
            {"repetition_penalty": 1.5, "options": {"repeat_last_n": 8}},
            pb.Sampling(repeat_penalty=1.5, repeat_last_n=8),
        ),
        ({"top_k": 3, "options": {"top_k": 9}}, pb.Sampling(top_k=3)),
        ({"min_tokens": 5}, pb.Sampling(min_tokens=5)),
        ({"ignore_eos": True}, pb.Sampling(ignore_eos=True)),
        ({"stop_token_ids": [5, 6]}, pb.Sampling(stop_token_ids=[5, 6])),
        ({"stop": "b", "no_stop_trim": True}, pb.Sampling(stop=["b"], include_stop=True)),
        ({"stop": "b", "include_stop_str_in_output": True}, pb.Sampling(stop=["b"], include_stop=True)),
        ({"skip_special_tokens": False}, pb.Sampling(show_special_tokens=True)),
    ],
    ids=str,
)
@_BOTH
async def test_sampling(start: Start, path: str, more: dict[str, Json], expected: pb.Sampling) -> None:
    async with start(_worker()) as frontend:
        sampling = (await _asked(frontend, path, more)).sampling
    assert [getattr(sampling, field.name) for field, _ in expected.ListFields()] == [
        value for _, value in expected.ListFields()
    ]


@pytest.mark.parametrize(
    ("more", "expected"),
    [
        ({"regex": "[ab]"}, pb.GenerateRequest(regex="[ab]")),
        ({"guided_regex": "[ab]"}, pb.GenerateRequest(regex="[ab]")),
        ({"structured_outputs": {"regex": "[ab]"}}, pb.GenerateRequest(regex="[ab]")),
        ({"ebnf": 'root ::= "a"'}, pb.GenerateRequest(ebnf='root ::= "a"')),
        ({"guided_grammar": 'root ::= "a"'}, pb.GenerateRequest(ebnf='root ::= "a"')),
        ({"structured_outputs": {"grammar": 'root ::= "a"'}}, pb.GenerateRequest(ebnf='root ::= "a"')),
        ({"guided_choice": ["a.b", "c|d"]}, pb.GenerateRequest(regex=r"a\.b|c\|d")),
        ({"structured_outputs": {"choice": ["a", "b"]}}, pb.GenerateRequest(regex="a|b")),
        ({"guided_json": {"type": "object"}}, pb.GenerateRequest(json_schema='{"type":"object"}')),
        ({"guided_json": '{"type": "object"}'}, pb.GenerateRequest(json_schema='{"type":"object"}')),
        ({"structured_outputs": {"json": {"a": 1}}}, pb.GenerateRequest(json_schema='{"a":1}')),
        ({"structured_outputs": {"json_object": True}}, pb.GenerateRequest(any_json=True)),
        ({"response_format": {"type": "json_object"}}, pb.GenerateRequest(any_json=True)),
        (
            {"response_format": {"type": "json_schema", "json_schema": {"name": "n", "schema": {"a": 1}}}},
            pb.GenerateRequest(json_schema='{"a":1}'),
        ),
        ({"response_format": {"type": "text"}, "regex": "a"}, pb.GenerateRequest(regex="a")),
        (
            {"response_format": {"type": "structural_tag", "format": {"type": "any_text"}}},
            pb.GenerateRequest(structural_tag='{"type":"structural_tag","format":{"type":"any_text"}}'),
        ),
        (
            {"structured_outputs": {"structural_tag": '{"format":{"type":"any_text"}}'}},
            pb.GenerateRequest(structural_tag='{"format":{"type":"any_text"}}'),
        ),
    ],
    ids=str,
)
@_BOTH
async def test_constraints(
    start: Start, path: str, more: dict[str, Json], expected: pb.GenerateRequest
) -> None:
    async with start(_worker()) as frontend:
        request = await _asked(frontend, path, more)
    kind = expected.WhichOneof("constraint")
    assert request.WhichOneof("constraint") == kind
    assert kind is not None
    assert getattr(request, kind) == getattr(expected, kind)


_TOOLS: Json = [{"type": "function", "function": {"name": "f"}}]
_NO_SCHEMA: Json = {"type": "json_schema", "json_schema": {"name": "n", "schema": None}}


@pytest.mark.parametrize(
    ("path", "more", "words"),
    [
        (_CHAT, {"regex": "a", "ebnf": "b"}, "only one constraint can be set, and this request has 2"),
        (_CHAT, {"regex": "a", "response_format": {"type": "json_object"}}, "response_format, regex"),
        (_COMPLETIONS, {"json_schema": "{}", "guided_choice": ["a"]}, "json_schema, guided_choice"),
        (_CHAT, {"regex": "a", "tools": _TOOLS, "tool_choice": "required"}, "tool_choice 'required'"),
        (_CHAT, {"structured_outputs": {}}, "exactly one of json"),
        (_CHAT, {"structured_outputs": {"regex": "a", "choice": ["a"]}}, "has regex, choice"),
        (_CHAT, {"structured_outputs": {"regex": 5}}, "cannot unmarshal number"),
        (_CHAT, {"response_format": _NO_SCHEMA}, "json_schema needs a schema"),
        (_COMPLETIONS, {"response_format": _NO_SCHEMA}, "json_schema needs a schema"),
        (_CHAT, {"guided_json": "{"}, "guided_json: it cannot be read as JSON"),
        (_CHAT, {"guided_json": " "}, "guided_json: the text is empty"),
        (_CHAT, {"guided_json": [1]}, "guided_json: an object, or its text"),
        (_CHAT, {"guided_choice": ["a", ""]}, "a choice is empty"),
        (_CHAT, {"guided_choice": "a"}, "a list of texts"),
        (_CHAT, {"regex": ""}, "regex: the text is empty"),
        (_COMPLETIONS, {"top_k": -2}, "top_k must be between -1 and"),
        (_CHAT, {"min_p": 1.5}, "min_p must be in [0, 1], it is 1.5"),
        (_CHAT, {"repetition_penalty": 0}, "repetition_penalty must be in (0, 2], it is 0"),
        (_CHAT, {"repetition_penalty": 2.5}, "repetition_penalty must be in (0, 2], it is 2.5"),
        (_CHAT, {"min_tokens": -1}, "min_tokens must be between 0 and"),
        (_CHAT, {"min_tokens": 9, "max_tokens": 5}, "min_tokens must be in [0, max_tokens=5], got 9"),
        (_CHAT, {"min_tokens": 9, "max_completion_tokens": 5}, "got 9"),
        (_COMPLETIONS, {"min_tokens": 9, "max_tokens": 5}, "got 9"),
        (_CHAT, {"stop_token_ids": [-1]}, "stop_token_ids: -1 is not a token id"),
        (_CHAT, {"stop_token_ids": list(range(257))}, "257 are too many"),
        (_CHAT, {"continue_final_message": True}, "the last message must be the assistant's"),
        (
            _CHAT,
            {"messages": _BEGUN, "continue_final_message": True, "add_generation_prompt": True},
            "Cannot set both",
        ),
        (_CHAT, {"rid": "a\nb"}, "rid: only printable ASCII"),
        (_CHAT, {"cache_salt": "x" * 1025}, "cache_salt: 1025 characters are too many"),
        (_CHAT, {"priority": 2**40}, "priority must be between"),
    ],
    ids=str,
)
async def test_what_is_refused(start: Start, path: str, more: dict[str, Json], words: str) -> None:
    async with start(_worker(tools=True)) as frontend:
        answer = await frontend.client.post(path, json={**_BODIES[path], **more})
    assert answer.status_code == 400, answer.text
    error = answer.json()["error"]
    assert error["type"] == "invalid_request_error"
    assert words in error["message"]


@pytest.mark.parametrize("refusal", REFUSALS, ids=lambda refusal: refusal.name)
@_ALL
async def test_refused_fields_are_a_400_that_names_them(start: Start, path: str, refusal: object) -> None:
    name, about = getattr(refusal, "name"), getattr(refusal, "about")  # noqa: B009 - of any refusal
    async with start(_worker()) as frontend:
        answer = await frontend.client.post(path, json={**_BODIES[path], name: 1})
        unset = await frontend.client.post(path, json={**_BODIES[path], name: None})
    assert answer.status_code == 400
    assert answer.json()["error"]["message"] == f"{name} is refused: {about}"
    assert unset.status_code == 200


@_ALL
async def test_fields_without_effect_are_named(start: Start, path: str) -> None:
    async with start(_worker()) as frontend:
        for unused in UNUSED:
            answer = await frontend.client.post(path, json={**_BODIES[path], unused.name: 1})
            assert answer.status_code == 200, answer.text
            assert answer.headers["x-drover-not-honoured"] == unused.name


@pytest.mark.parametrize(
    ("route", "extra"),
    [(route, extra) for extra in EXTRAS for route in extra.routes if route in _PATHS],
    ids=lambda value: value.name if isinstance(value, Extra) else value,
)
async def test_every_field_of_the_table_is_read(start: Start, route: str, extra: Extra) -> None:
    more: dict[str, Json] = {extra.name: json.loads(json.dumps(extra.sample))}
    if extra.name == "continue_final_message":
        more["messages"] = _BEGUN
    async with start(_worker(regex_constraint=True, ebnf_constraint=True)) as frontend:
        path = _PATHS[route]
        answer = await frontend.client.post(path, json={**_BODIES[path], **more})
    assert answer.status_code == 200, answer.text
    assert "x-drover-not-honoured" not in answer.headers


@_ALL
async def test_a_salt_and_a_session_belong_to_their_caller(start: Start, path: str) -> None:
    async with start(_worker()) as frontend:

        async def keys(key: str, **more: Json) -> tuple[str, str]:
            request = await _asked(frontend, path, more, {"authorization": f"Bearer {key}"})
            return request.cache_salt, request.routing_key

        one = await keys("one", cache_salt="s", session_id="t")
        again = await keys("one", cache_salt="s", session_id="t")
        other = await keys("two", cache_salt="s", session_id="t")
        by_cache_key = await keys("one", prompt_cache_key="t")
        older = await keys("one", extra_key="s")
        none = await keys("one")

    assert one == again
    assert "s" != one[0] != ""
    assert one[0] != other[0]
    assert one[1] != other[1]
    assert by_cache_key == ("", one[1])
    assert older[0] not in ("", one[0])
    assert none == ("", "")


@pytest.mark.parametrize(
    ("more", "continues", "is_open"),
    [
        ({}, False, False),
        ({"messages": _BEGUN}, True, False),
        ({"messages": _BEGUN, "continue_final_message": True}, True, False),
        ({"messages": _BEGUN, "continue_final_message": True, "add_generation_prompt": False}, True, False),
        ({"messages": _BEGUN, "continue_final_message": False}, False, False),
        ({"messages": _BEGUN, "add_generation_prompt": True}, False, False),
        ({"messages": _BEGUN, "add_generation_prompt": False}, False, True),
        ({"add_generation_prompt": False}, False, True),
    ],
    ids=str,
)
async def test_the_end_of_the_prompt(
    start: Start, more: dict[str, Json], continues: bool, is_open: bool
) -> None:
    async with start(_worker()) as frontend:
        chat = (await _asked(frontend, _CHAT, more)).chat
    assert (chat.continue_last, chat.no_generation_prompt) == (continues, is_open)


@pytest.mark.parametrize(
    ("more", "mode"),
    [
        ({}, pb.Think.ON),
        ({"chat_template_kwargs": {"enable_thinking": False}}, pb.Think.OFF),
        ({"chat_template_kwargs": {"thinking": False}}, pb.Think.OFF),
        ({"chat_template_kwargs": {"enable_thinking": True}}, pb.Think.ON),
        ({"thinking": {"type": "disabled"}}, pb.Think.OFF),
        ({"thinking": False}, pb.Think.OFF),
        ({"thinking": {"type": "adaptive"}}, pb.Think.ON),
        ({"reasoning_effort": "low", "chat_template_kwargs": {"enable_thinking": False}}, pb.Think.ON),
    ],
    ids=str,
)
async def test_switches_of_thinking(start: Start, more: dict[str, Json], mode: int) -> None:
    async with start(_worker(thinking=True)) as frontend:
        request = await _asked(frontend, _CHAT, more)
    assert request.think.mode == mode


async def test_a_mode_of_thinking_that_is_not_known_is_named(start: Start) -> None:
    async with start(_worker(thinking=True)) as frontend:
        body = {**_BODIES[_CHAT], "thinking": {"type": "adaptive"}}
        answer = await frontend.client.post(_CHAT, json=body)
    assert answer.headers["x-drover-not-honoured"] == "thinking"


async def test_tokenize_renders_with_the_extensions(start: Start) -> None:
    more: dict[str, Json] = {"chat_template_kwargs": {"a": 1}, "add_generation_prompt": False}
    async with start(_worker()) as frontend:
        answer = await frontend.client.post("/v1/tokenize", json={**_BODIES[_CHAT], **more})
        rendered = frontend.worker.renders[-1]
    assert answer.status_code == 200, answer.text
    assert json.loads(rendered.template_arguments_json) == {"a": 1}
    assert rendered.chat.no_generation_prompt


async def test_thinking_that_a_model_cannot_do_is_no_error(start: Start) -> None:
    async with start(_worker()) as frontend:
        request = await _asked(frontend, _CHAT, {"chat_template_kwargs": {"enable_thinking": True, "a": [1]}})
    assert request.think.mode == pb.Think.UNSET
    assert json.loads(request.template_arguments_json) == {"enable_thinking": True, "a": [1]}


@pytest.mark.parametrize(
    ("settings", "headers", "sent", "used", "named"),
    [
        ({}, {}, -5, -5, ""),
        ({}, {}, 3, 0, "priority"),
        ({"max_priority": 2}, {}, 3, 2, "priority"),
        ({"max_priority": 5}, {}, 3, 3, ""),
        ({}, {"x-drover-priority": "-9"}, -5, -9, "priority"),
    ],
    ids=str,
)
async def test_priorities(
    start: Start, settings: dict[str, int], headers: dict[str, str], sent: int, used: int, named: str
) -> None:
    async with start(_worker(), **settings) as frontend:
        body = {**_BODIES[_CHAT], "priority": sent}
        answer = await frontend.client.post(_CHAT, json=body, headers=headers)
    assert frontend.worker.handles[-1].request.priority == used
    assert answer.headers.get("x-drover-not-honoured", "") == named


@pytest.mark.parametrize(
    ("path", "more", "expected"),
    [
        (_CHAT, {"rid": "r-1"}, "r-1"),
        (_COMPLETIONS, {"rid": 'a"b'}, 'a"b'),
        (_CHAT, {"request_id": "r-1"}, "chatcmpl-r-1"),
        (_COMPLETIONS, {"request_id": "r-1"}, "cmpl-r-1"),
    ],
)
@pytest.mark.parametrize("stream", [False, True])
async def test_the_clients_id_is_the_answers(
    start: Start, path: str, more: dict[str, Json], expected: str, stream: bool
) -> None:
    async with start(_worker()) as frontend:
        answer = await frontend.client.post(path, json={**_BODIES[path], **more, "stream": stream})
    text = answer.text.partition("data: ")[2].partition("\n")[0] if stream else answer.text
    assert json.loads(text)["id"] == expected
    # Never the id of an attempt: engines abort by it.
    assert frontend.worker.handles[-1].request.request_id not in (expected, "r-1")


async def test_extensions_of_responses(start: Start) -> None:
    more: dict[str, Json] = {"top_k": 3, "min_p": 0.5, "repetition_penalty": 1.5, "priority": -4}
    async with start(_worker(thinking=True)) as frontend:
        request = await _asked(
            frontend, _RESPONSES, {**more, "chat_template_kwargs": {"enable_thinking": False, "a": 1}}
        )
    sampling = request.sampling
    assert (sampling.top_k, sampling.min_p, sampling.repeat_penalty) == (3, 0.5, 1.5)
    assert sampling.repeat_last_n == -1
    assert request.priority == -4
    assert request.think.mode == pb.Think.OFF
    assert json.loads(request.template_arguments_json) == {"enable_thinking": False, "a": 1}
