"""Typed fields out of JSON, as Go's decoder reads them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drover.errors import InvalidRequest
from frontend.api.core.go_json import Json, loads
from frontend.api.core.request import ChatRequest, GenerateRequest, ShowRequest
from frontend.api.core.thinking import Think


def _refusal(request: type[ChatRequest | GenerateRequest | ShowRequest], body: str) -> str:
    with pytest.raises(InvalidRequest) as refused:
        request.read(loads(body.encode()))
    return refused.value.message


def _chat(body: str) -> ChatRequest:
    return ChatRequest.read(loads(body.encode()))


@pytest.mark.parametrize("body", ["null", "{}", '{"model":null,"messages":null,"stream":null,"think":null}'])
def test_null_leaves_fields_unset(body: str) -> None:
    assert _chat(body) == ChatRequest()
    assert ChatRequest().stream
    assert ChatRequest().truncate
    assert ChatRequest().shift


@pytest.mark.parametrize(
    "body", ['{"MODEL":"m"}', '{"mOdEl":"m"}', '{"model":"x","MODEL":"m"}', '{"MODEL":"x","model":"m"}']
)
def test_keys_match_in_any_letter_case_and_the_last_one_wins(body: str) -> None:
    assert _chat(body).model == "m"


def test_the_last_duplicate_wins() -> None:
    assert _chat('{"model":"x","model":"m"}').model == "m"


def test_unknown_keys_are_ignored() -> None:
    assert _chat('{"width":[1],"model":"m","messages":[{"role":"user","x":1}]}').model == "m"


def test_a_message_with_everything() -> None:
    (message,) = _chat(
        '{"messages":[{"role":"TOOL","content":"c","thinking":"t","images":["aGVs\\nbG8="],"tool_name":"n",'
        '"tool_call_id":"i","tool_calls":[{"id":"x","function":'
        '{"index":1,"name":"f","arguments":{"b":1,"a":[2.5]}}}]}]}'
    ).messages

    assert (message.role, message.content, message.thinking) == ("tool", "c", "t")
    assert message.images == [b"hello"]
    assert (message.tool_name, message.tool_call_id) == ("n", "i")
    (call,) = message.tool_calls
    assert (call.id, call.name, call.arguments_json) == ("x", "f", '{"b":1,"a":[2.5]}')


def test_a_tool_keeps_the_whole_schema() -> None:
    (tool,) = _chat(
        '{"tools":[{"type":"function","function":{"name":"f","description":"d",'
        '"parameters":{"type":"object","minimum":1,"oneOf":[]}}}]}'
    ).tools

    assert (tool.name, tool.description) == ("f", "d")
    assert tool.parameters_json == '{"type":"object","minimum":1,"oneOf":[]}'


@pytest.mark.parametrize(
    ("value", "think"),
    [
        ("true", Think(True)),
        ("false", Think(False)),
        ('"high"', Think(True, "high")),
        ('"max"', Think(True, "max")),
        ('"HIGH"', Think(True, "HIGH")),
        ('"deepest"', Think(True, "deepest")),
        ("null", None),
    ],
)
def test_think(value: str, think: Think | None) -> None:
    assert _chat(f'{{"think":{value}}}').think == think


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("model", "5", "number into Go struct field ChatRequest.model of type string"),
        ("model", "1.5", "number into Go struct field ChatRequest.model of type string"),
        ("model", "{}", "object into Go struct field ChatRequest.model of type string"),
        ("stream", '"yes"', "string into Go struct field ChatRequest.stream of type bool"),
        ("stream", "1", "number into Go struct field ChatRequest.stream of type bool"),
        ("top_logprobs", "1.5", "number 1.5 into Go struct field ChatRequest.top_logprobs of type int"),
        ("top_logprobs", "true", "bool into Go struct field ChatRequest.top_logprobs of type int"),
        ("messages", "true", "bool into Go struct field ChatRequest.messages of type []api.Message"),
        ("messages", "1.5", "number into Go struct field ChatRequest.messages of type []api.Message"),
        ("messages", "{}", "object into Go struct field ChatRequest.messages of type []api.Message"),
        ("tools", '"x"', "string into Go struct field ChatRequest.tools of type api.Tools"),
        ("tools", "1.5", "number into Go struct field ChatRequest.tools of type api.Tools"),
        ("options", '"x"', "string into Go struct field ChatRequest.options of type map[string]interface {}"),
    ],
)
def test_a_value_of_the_wrong_type_is_an_error_in_gos_words(field: str, value: str, message: str) -> None:
    assert _refusal(ChatRequest, f'{{"{field}":{value}}}') == f"json: cannot unmarshal {message}"


def test_the_first_wrong_value_of_the_body_is_named() -> None:
    assert "ChatRequest.stream" in _refusal(ChatRequest, '{"stream":1,"model":2}')
    assert "ChatRequest.model" in _refusal(ChatRequest, '{"model":2,"stream":1}')


def test_token_ids() -> None:
    assert GenerateRequest.read(loads(b'{"context":[1,null,3]}')).context == [1, 3]
    assert _refusal(GenerateRequest, '{"context":[1.5]}') == (
        "json: cannot unmarshal number 1.5 into Go struct field GenerateRequest.context of type int"
    )


@pytest.mark.parametrize(
    ("text", "at"),
    [("!", 0), ("aGVs bG8=", 4), ("aGVsbG8", 4), ("data:image/png;base64,", 4), ("aGVsbG8é", 7)],
)
def test_an_image_that_is_not_base64(text: str, at: int) -> None:
    assert _refusal(GenerateRequest, f'{{"images":["aGVs","{text}"]}}') == (
        f"illegal base64 data at input byte {at}"
    )


def test_show_reads_the_old_field_where_the_new_one_is_empty() -> None:
    assert ShowRequest.read(loads(b'{"model":"","name":"n"}')).wanted == "n"
    assert ShowRequest.read(loads(b'{"model":"m","name":"n"}')).wanted == "m"


_DEEP = '{"a":' * 300 + "1" + "}" * 300


@pytest.mark.parametrize("value", [_DEEP, '{"a":100000000000000000000}', r'{"a":"\ud800"}'])
@pytest.mark.parametrize(
    "body",
    [
        '{"tools":[{"function":{"name":"f","parameters":VALUE}}]} trailing',
        '{"messages":[{"tool_calls":[{"function":{"name":"f","arguments":VALUE}}]}]} trailing',
    ],
)
def test_a_strange_object_is_read_or_refused(body: str, value: str) -> None:
    try:
        _chat(body.replace("VALUE", value))
    except InvalidRequest as error:
        assert error.message  # noqa: PT017


JSON_VALUES: st.SearchStrategy[Json] = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(-9, 9), st.floats(allow_nan=False), st.text(max_size=3)),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=3), inner)),
    max_leaves=5,
)
FIELDS = ["model", "messages", "tools", "options", "think", "keep_alive", "images", "context", "format"]


@given(st.dictionaries(st.sampled_from(FIELDS), JSON_VALUES))
def test_any_value_in_any_field_is_read_or_an_invalid_request(body: dict[str, Json]) -> None:
    for request in (ChatRequest, GenerateRequest, ShowRequest):
        try:
            request.read(body)
        except InvalidRequest as error:
            assert error.message  # noqa: PT017


@given(JSON_VALUES)
def test_any_think_value_is_a_boolean_a_name_or_refused(value: Json) -> None:
    try:
        think = ChatRequest.read({"think": value}).think
    except InvalidRequest as error:
        assert value == "" or not isinstance(value, bool | str)
        assert error.message == "think must be a boolean or string"  # noqa: PT017
    else:
        assert think == (
            None if value is None else Think(bool(value), value if isinstance(value, str) else "")
        )
