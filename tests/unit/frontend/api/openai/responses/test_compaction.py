"""Compaction items, triggers, and the requests for a summary."""

from __future__ import annotations

import json

import pytest

from drover.errors import InvalidRequest
from drover.json_value import Json
from drover.v1 import engine_pb2 as pb
from frontend.api.core.request import ChatRequest, Message, Tool, ToolCall
from frontend.api.core.thinking import Think
from frontend.api.openai.responses.compact import CompactRequest
from frontend.api.openai.responses.compaction import Compaction
from frontend.api.openai.responses.request import ResponsesRequest
from frontend.api.openai.responses.summary import SummaryRequests, last_messages, without_unfinished_calls

PAYLOAD: dict[str, Json] = {"type": "ollama_compaction", "version": 1, "summary": "We counted to 7."}
TRIGGER: Json = {"type": "compaction_trigger"}
USER: Json = {"role": "user", "content": "hi"}
CALLED = Message(role="assistant", tool_calls=[ToolCall("f", '{"a":1}', "call_1")])
RESULT = Message(role="tool", content="42", tool_name="f", tool_call_id="call_1")


def read(items: Json, **more: Json) -> ResponsesRequest:
    return ResponsesRequest.read({"model": "m", "input": items, **more})


def refusal(items: Json, **more: Json) -> str:
    with pytest.raises(InvalidRequest) as raised:
        read(items, **more)
    return raised.value.message


def item(payload: object, kind: str = "compaction") -> Json:
    return {"type": kind, "id": "cmp_1", "encrypted_content": json.dumps(payload)}


@pytest.mark.parametrize("kind", ["compaction", "compaction_summary"])
def test_a_compaction_becomes_a_message_with_its_summary_and_what_it_retained(kind: str) -> None:
    call = {"id": "call_1", "function": {"name": "f", "arguments": {"a": 1}}}
    retained = [{"role": "assistant", "content": "", "tool_calls": [call]}]

    request = read([USER, item({**PAYLOAD, "retained": retained}, kind), USER])

    before, summary, kept, after = request.chat.messages
    assert (before.content, after.content) == ("hi", "hi")
    assert summary.role == "user"
    assert summary.content.endswith("We counted to 7.")
    assert kept == CALLED
    assert request.ignored == []


def test_a_compaction_survives_its_item() -> None:
    compaction = Compaction("We counted to 7.", [CALLED, RESULT, Message(role="assistant", thinking="hm")])
    content = compaction.item("cmp_1")["encrypted_content"]

    assert isinstance(content, str)
    assert Compaction.read(content, "input[0]") == compaction


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("gAAAAABk", "unsupported compaction item: encrypted_content is not an Ollama payload"),
        ("", "unsupported compaction item: encrypted_content is not an Ollama payload"),
        ("[]", "unsupported compaction item: encrypted_content is not an Ollama payload"),
        (json.dumps({**PAYLOAD, "more": 1}), "encrypted_content is not an Ollama payload"),
        (json.dumps({**PAYLOAD, "version": 2}), "unsupported Ollama compaction payload type or version"),
        (json.dumps({**PAYLOAD, "type": "other"}), "unsupported Ollama compaction payload type or version"),
        (json.dumps({**PAYLOAD, "summary": " "}), "Ollama compaction payload has an empty summary"),
        (json.dumps({**PAYLOAD, "summary": 1}), "Ollama compaction payload has an empty summary"),
        (json.dumps({**PAYLOAD, "retained": {}}), "ResponsesCompactionItem.retained"),
        (json.dumps({**PAYLOAD, "retained": [1]}), "number"),
    ],
)
def test_what_another_server_made_is_refused(content: str, words: str) -> None:
    message = refusal([USER, {"type": "compaction", "encrypted_content": content}])

    assert words in message


def test_a_trigger_is_the_last_item() -> None:
    request = read([USER, TRIGGER], stream=True)

    assert request.compacts
    assert [message.content for message in request.chat.messages] == ["hi"]
    assert not read([USER]).compacts


@pytest.mark.parametrize("items", [[TRIGGER, USER], [USER, TRIGGER, TRIGGER]])
def test_a_trigger_elsewhere_is_refused(items: Json) -> None:
    assert "must be the final and only compaction trigger" in refusal(items, stream=True)


def test_a_trigger_needs_a_conversation() -> None:
    assert refusal([TRIGGER], stream=True, instructions="Be brief.") == "compaction input is empty"


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({"model": "m"}, "input is required"),
        ({"model": "m", "input": [], "instructions": "i"}, "compaction input is empty"),
        ({"model": "m", "input": [USER, TRIGGER]}, "compaction_trigger is only valid on POST /v1/responses"),
    ],
)
def test_what_cannot_be_compacted_is_refused(body: Json, words: str) -> None:
    with pytest.raises(InvalidRequest) as raised:
        CompactRequest.read(body)
    assert raised.value.message == words


def test_the_user_s_messages_are_kept() -> None:
    answer: Json = {"type": "message", "role": "assistant", "content": "Hello."}

    kept = CompactRequest.read({"model": "m", "input": [USER, answer, {**PAYLOAD, "type": "note"}]}).kept

    (message,) = kept
    assert isinstance(message, dict)
    assert message["content"] == [{"type": "input_text", "text": "hi"}]
    assert str(message["id"]).startswith("msg_")


def _requests(*messages: Message, mode: pb.ToolChoice.Mode.ValueType = pb.ToolChoice.AUTO) -> SummaryRequests:
    chat = ChatRequest(
        model="m",
        messages=[*messages],
        tools=[Tool("f", "", "")],
        truncate=False,
        format="json",
        options={"temperature": 0},
        think=Think(enabled=True),
    )
    return SummaryRequests(chat, pb.ToolChoice(mode=mode, name="f"), 4096)


def test_the_first_request_keeps_the_conversation_and_its_tools() -> None:
    question = Message(role="user", content="Count.")
    chat, extend = _requests(question, CALLED, RESULT).first()
    message = pb.GenerateRequest()
    extend(message)

    assert chat.messages[:3] == [question, CALLED, RESULT]
    assert chat.messages[3].role == "user"
    assert [tool.name for tool in chat.tools] == ["f"]
    assert (chat.truncate, chat.format, chat.options) == (True, None, {"temperature": 0, "num_predict": 1024})
    assert message == pb.GenerateRequest()


def test_a_choice_of_no_tool_is_kept_and_one_that_forces_a_call_is_not() -> None:
    for mode, kept in (
        (pb.ToolChoice.NONE, pb.ToolChoice.NONE),
        (pb.ToolChoice.REQUIRED, pb.ToolChoice.AUTO),
        (pb.ToolChoice.NAMED, pb.ToolChoice.AUTO),
    ):
        message = pb.GenerateRequest()
        _, extend = _requests(Message(role="user", content="x"), mode=mode).first()
        extend(message)
        assert message.tool_choice.mode == kept


def test_the_second_request_has_neither_tools_nor_thinking() -> None:
    chat, _ = _requests(Message(role="user", content="x")).second()

    assert (chat.tools, chat.think, chat.think_optional) == ([], Think(enabled=False), True)


def test_calls_without_a_result_are_retained() -> None:
    both = [ToolCall("f", "{}", "call_1"), ToolCall("f", "{}", "call_2")]
    calls = Message(role="assistant", content="I look.", tool_calls=both)

    finished, unfinished = without_unfinished_calls([calls, RESULT])

    assert [call.id for message in finished for call in message.tool_calls] == ["call_1"]
    assert unfinished == [Message(role="assistant", tool_calls=both[1:])]
    assert _requests(calls, RESULT).compaction("s").retained == unfinished


def test_without_a_summary_the_last_messages_are_kept() -> None:
    system = Message(role="system", content="Be brief.")
    long = Message(role="user", content="x" * 5000)
    last = Message(role="assistant", content="y")

    compaction = _requests(system, long, last).fallback()

    assert compaction.summary.startswith("The model wrote no summary")
    assert [len(message.content) for message in compaction.retained] == [4095, 1]
    assert all(message.role != "system" for message in compaction.retained)


def test_results_without_their_call_are_not_kept() -> None:
    after = Message(role="user", content="so?")

    assert last_messages([CALLED, RESULT, after], 5) == [after]
    assert last_messages([CALLED, RESULT, after], 100) == [CALLED, RESULT, after]
