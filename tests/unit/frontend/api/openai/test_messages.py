"""Arguments of calls in OpenAI's messages."""

from __future__ import annotations

import pytest

from drover.errors import InvalidRequest
from drover.json_value import Json
from frontend.api.openai.messages import read_messages


def _with_call(**function: Json) -> list[Json]:
    call: Json = {"id": "c", "type": "function", "function": {"name": "f", **function}}
    return [{"role": "assistant", "content": None, "tool_calls": [call]}]


@pytest.mark.parametrize("function", [{"arguments": ""}, {}, {"arguments": None}])
def test_a_call_without_arguments_is_refused_as_in_ollama(function: dict[str, Json]) -> None:
    with pytest.raises(InvalidRequest, match=r"^invalid tool call arguments$"):
        read_messages(_with_call(**function))


@pytest.mark.parametrize("arguments", ["{}", '{"a": "b', "text"])
def test_any_other_text_is_accepted(arguments: str) -> None:
    (message,), _ = read_messages(_with_call(arguments=arguments))

    assert message.tool_calls[0].arguments_json == arguments
