"""OpenAI's messages: arguments of calls, and parts of the content."""

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


def _with_part(part: Json) -> list[Json]:
    return [{"role": "user", "content": [{"type": "text", "text": "What is it?"}, part]}]


def test_audio_is_sent_like_an_image_and_reported() -> None:
    (message,), has_audio = read_messages(
        _with_part({"type": "input_audio", "input_audio": {"data": "UklGRg==", "format": "wav"}})
    )
    assert (message.content, list(message.images), has_audio) == ("What is it?", [b"RIFF"], True)


@pytest.mark.parametrize(
    ("part", "why"),
    [
        ({"type": "input_audio", "input_audio": {"data": "no base64!"}}, "invalid audio input"),
        ({"type": "input_audio", "input_audio": {}}, "invalid message format"),
        ({"type": "video", "video": "x"}, "invalid message format"),
        ({"type": "text", "text": 5}, "invalid message format"),
        ("text", "invalid message format"),
    ],
)
def test_an_invalid_part_is_refused(part: Json, why: str) -> None:
    with pytest.raises(InvalidRequest, match=f"^{why}$"):
        read_messages(_with_part(part))
