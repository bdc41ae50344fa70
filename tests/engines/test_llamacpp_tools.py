"""Tools and thinking with llama.cpp: a small GGUF whose template has both and whose answers are known."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator, Iterator, Sequence
from pathlib import Path

import pytest

from drover.errors import CapabilityMissing, ContextExceeded, InvalidRequest
from drover.v1 import engine_pb2 as pb
from tests.support.answers import Answer, answer_to, leaf_of, text_of, tokens_of
from tests.support.chat_requests import chat_with, tool
from tests.support.engine_client import EngineClient, engine_client
from tests.support.processes import Process, worker
from tests.support.scripted_gguf import EOS, THINKING_AND_TOOLS, write_scripted_gguf
from tests.support.waiting import until

pytestmark = pytest.mark.real_model
THOUGHT, ANSWER = "I think of the m", "Hello there"
CONTEXT_LENGTH = 512
SCRIPTS: Sequence[Sequence[str]] = (
    # After "assistant\n", where the model may think, and after "</think>\n\n", where it may not.
    ("Ċ", "<think>", "I", "Ġthink", "Ġof", "Ġthe", "Ġm", "</think>", "He", "ll", "o", "Ġthere", EOS),
    ("ĊĊ", "O", "k", ".", EOS),
    # Where it is made to call, or may not end.
    ("Ġthere", "<tool_call>", "Ċ", "{", '"'),
    (".", "<tool_call>"),
    ("Ġ}", "}", "</tool_call>", EOS),
    # Where a grammar wants a line of its own for it.
    ("Ċ", "</tool_call>"),
)
EOS_ID = 2


@pytest.fixture(scope="module")
def process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Process]:
    folder = tmp_path_factory.mktemp("tools")
    write_scripted_gguf(folder / "model.gguf", THINKING_AND_TOOLS, *SCRIPTS)
    flags = ("--context-length", str(CONTEXT_LENGTH), "--slots", "2")
    with worker(
        folder / "worker.log", "--engine", "llamacpp", "--model", str(folder / "model.gguf"), *flags
    ) as process:
        yield process


@pytest.fixture
async def engine(process: Process) -> AsyncIterator[EngineClient]:
    async with engine_client(process.address) as client:
        yield client


def parts_of(answer: Answer) -> list[pb.ToolCallDelta]:
    return [part for delta in answer.deltas for part in delta.tool_calls]


def names_of(answer: Answer) -> list[str]:
    return [call.name for call in answer.calls.values()]


def arguments_of(answer: Answer) -> object:
    """Of its first call."""
    return json.loads(answer.calls[0].arguments_json)


def counts_of(answer: Answer) -> list[int]:
    return [delta.completion_tokens for delta in answer.deltas]


async def test_the_template_is_announced(engine: EngineClient) -> None:
    capabilities = (await engine.stub.GetModel(pb.GetModelRequest())).capabilities
    assert (capabilities.tools, capabilities.thinking) == (True, True)


@pytest.mark.parametrize("mode", [pb.Think.UNSET, pb.Think.ON])
async def test_thinking_is_apart_from_the_answer(engine: EngineClient, mode: pb.Think.Mode.ValueType) -> None:
    request = chat_with()
    request.think.mode = mode
    answer = await answer_to(engine, request)
    assert (answer.thinking, answer.content) == (THOUGHT, ANSWER)
    done = answer.done
    assert (done.finish_reason, done.completion_tokens, done.reasoning_tokens) == (pb.Done.STOP, 12, 6)
    assert done.prompt_tokens == len(answer.started.prompt_ids)
    assert counts_of(answer) == sorted(counts_of(answer))
    assert min(done.timings.queue_ns, done.timings.prefill_ns, done.timings.decode_ns) > 0
    written = await text_of(engine, answer.ids)
    assert written == f"<think>\n{THOUGHT}\n</think>\n\n{ANSWER}"


async def test_a_model_that_is_told_not_to_think_does_not(engine: EngineClient) -> None:
    request = chat_with()
    request.think.mode = pb.Think.OFF
    answer = await answer_to(engine, request)
    assert (answer.thinking, answer.content) == ("", "Ok.")
    assert await text_of(engine, answer.ids) == "Ok."


async def test_a_prompt_is_thought_about_too(engine: EngineClient) -> None:
    request = pb.GenerateRequest(sampling=pb.Sampling(temperature=0))
    request.prompt.text = "Hi"
    request.prompt.system = "Be kind."
    answer = await answer_to(engine, request)
    assert (answer.thinking, answer.content) == (THOUGHT, ANSWER)
    again = pb.GenerateRequest(sampling=request.sampling)
    again.prompt.text = "And then?"
    again.prompt.context.extend([*answer.started.prompt_ids, *answer.ids])
    answer = await answer_to(engine, again)
    assert list(answer.started.not_honoured) == ["think"]
    assert (answer.thinking, answer.content) == ("", "Ok.")
    assert "Be kind." in await text_of(engine, list(answer.started.prompt_ids))


async def test_the_prompt_shows_tools_in_ollamas_order(engine: EngineClient) -> None:
    parameters = {
        "properties": {"city": {"enum": ["Paris"], "minLength": 1, "type": "string"}},
        "required": ["city"],
        "$defs": {"x": {"type": "object"}},
        "type": "object",
    }
    answer = await answer_to(engine, chat_with(tool("get_weather", json.dumps(parameters)), max_tokens=1))
    assert (
        '"parameters": {"type": "object", "$defs": {"x": {"type": "object"}}, "required": ["city"], '
        '"properties": {"city": {"type": "string", "enum": ["Paris"]}}}}}'
    ) in await text_of(engine, list(answer.started.prompt_ids))


async def test_an_answer_that_could_have_called_and_did_not(engine: EngineClient) -> None:
    answer = await answer_to(engine, chat_with(tool("get_weather")))
    assert (answer.thinking, answer.content, parts_of(answer)) == (THOUGHT, ANSWER, [])
    assert "get_weather" in await text_of(engine, list(answer.started.prompt_ids))


async def test_a_call_of_the_models_own_will(engine: EngineClient) -> None:
    answer = await answer_to(engine, chat_with(tool("get_weather"), logit_bias={EOS_ID: -6.0}))
    assert (answer.thinking, answer.content) == (THOUGHT, ANSWER)
    assert (names_of(answer), arguments_of(answer)) == (["get_weather"], {"city": "Paris"})
    first, *others = parts_of(answer)
    assert re.fullmatch(r"call_[a-z0-9]{8}", first.id)
    assert not any(part.id or part.name for part in others)
    assert [part.complete for part in parts_of(answer)] == [False] * len(others) + [True]
    assert answer.done.finish_reason == pb.Done.STOP


async def test_a_tool_that_was_loaded_later_is_not_listed_and_can_be_called(engine: EngineClient) -> None:
    """Its definition stands in a message, and the list at the front of the prompt stays as it was."""
    loaded = tool("get_weather")
    loaded.unlisted = True
    before = await answer_to(engine, chat_with(tool("search")))
    after = await answer_to(engine, chat_with(tool("search"), loaded))
    assert list(after.started.prompt_ids) == list(before.started.prompt_ids)

    alone = await answer_to(engine, chat_with(loaded, logit_bias={EOS_ID: -6.0}))
    assert (names_of(alone), arguments_of(alone)) == (["get_weather"], {"city": "Paris"})
    assert "get_weather" not in await text_of(engine, list(alone.started.prompt_ids))


async def test_a_model_can_be_made_to_call(engine: EngineClient) -> None:
    request = chat_with(tool("get_weather"))
    request.tool_choice.mode = pb.ToolChoice.REQUIRED
    answer = await answer_to(engine, request)
    assert (names_of(answer), arguments_of(answer)) == (["get_weather"], {"city": "Paris"})
    request.think.mode = pb.Think.OFF
    answer = await answer_to(engine, request)
    assert (answer.thinking, names_of(answer)) == ("", ["get_weather"])


@pytest.mark.parametrize("mode", [pb.Think.UNSET, pb.Think.ON, pb.Think.OFF])
async def test_a_forced_call_is_the_whole_answer(engine: EngineClient, mode: pb.Think.Mode.ValueType) -> None:
    """The model would say something first."""
    request = chat_with(tool("get_weather"))
    request.think.mode = mode
    request.tool_choice.mode = pb.ToolChoice.REQUIRED
    answer = await answer_to(engine, request)
    assert (answer.thinking, answer.content) == ("" if mode == pb.Think.OFF else THOUGHT, "")
    assert (names_of(answer), arguments_of(answer)) == (["get_weather"], {"city": "Paris"})
    assert answer.complete == {0}
    assert answer.done.finish_reason == pb.Done.STOP


async def test_a_forced_call_never_becomes_text(engine: EngineClient) -> None:
    """Wherever the limit cuts it."""
    request = chat_with(tool("get_weather"))
    request.think.mode = pb.Think.OFF
    request.tool_choice.mode = pb.ToolChoice.REQUIRED
    whole = counts_of(await answer_to(engine, request))[-1]
    for most in range(1, whole):
        request.sampling.max_tokens = most
        answer = await answer_to(engine, request)
        assert (answer.content, answer.thinking) == ("", "")
        assert answer.done.finish_reason == pb.Done.LENGTH


async def test_a_stop_text_does_not_break_a_forced_call(engine: EngineClient) -> None:
    request = chat_with(tool("get_weather"), stop=["city", "of the"])
    request.think.mode = pb.Think.OFF
    request.tool_choice.mode = pb.ToolChoice.REQUIRED
    assert arguments_of(await answer_to(engine, request)) == {"city": "Paris"}
    request.think.mode = pb.Think.ON
    answer = await answer_to(engine, request)
    assert (answer.thinking, answer.content, answer.done.matched_stop) == ("I think ", "", "of the")
    await until(engine.idle, 2, "the slot is free")


async def test_a_forced_call_reaches_the_client_while_it_is_written(engine: EngineClient) -> None:
    request = chat_with(tool("get_weather"))
    request.tool_choice.mode = pb.ToolChoice.REQUIRED
    answer = await answer_to(engine, request)
    assert len(parts_of(answer)) > 2
    written = await text_of(engine, answer.ids)
    assert written.replace('"city":"Paris" ', '"city": "Paris"') == (
        f"<think>{THOUGHT}</think>"
        '<tool_call>\n{"name": "get_weather", "arguments": {"city": "Paris"}}\n</tool_call>'
    )


FORMAT = json.dumps(
    {
        "type": "object",
        "properties": {"a": {"enum": ["xy"]}},
        "required": ["a"],
        "additionalProperties": False,
    }
)


@pytest.mark.parametrize("mode", [pb.Think.UNSET, pb.Think.OFF])
async def test_tools_and_a_format_are_a_call_or_the_format(
    engine: EngineClient, mode: pb.Think.Mode.ValueType
) -> None:
    thought = "" if mode == pb.Think.OFF else THOUGHT
    request = chat_with(tool("get_weather"))
    request.json_schema = FORMAT
    request.think.mode = mode
    brace, call = [(await tokens_of(engine, text))[0] for text in ("{", "<tool_call>")]
    request.sampling.logit_bias[brace] = 5.0
    answer = await answer_to(engine, request)
    assert (answer.thinking, json.loads(answer.content), parts_of(answer)) == (thought, {"a": "xy"}, [])
    request.sampling.logit_bias[call] = 10.0
    answer = await answer_to(engine, request)
    assert (answer.thinking, answer.content) == (thought, "")
    assert names_of(answer)[0] == "get_weather"
    assert arguments_of(answer) == {"city": "Paris"}


async def test_a_forced_call_comes_before_a_format(engine: EngineClient) -> None:
    request = chat_with(tool("get_weather"))
    request.json_schema = FORMAT
    request.tool_choice.mode = pb.ToolChoice.NAMED
    request.tool_choice.name = "get_weather"
    answer = await answer_to(engine, request)
    assert (answer.content, names_of(answer)) == ("", ["get_weather"])


STATUS = {
    "properties": {"s": {"$ref": "#/$defs/S"}},
    "required": ["s"],
    "$defs": {"S": {"type": "string", "enum": ["passed", "failed"]}},
}


@pytest.mark.parametrize("mode", [pb.ToolChoice.AUTO, pb.ToolChoice.REQUIRED])
async def test_references_in_a_tools_schema_are_kept(
    engine: EngineClient, mode: pb.ToolChoice.Mode.ValueType
) -> None:
    request = chat_with(tool("report", json.dumps(STATUS)), logit_bias={EOS_ID: -6.0})
    request.tool_choice.mode = mode
    answer = await answer_to(engine, request)
    arguments = arguments_of(answer)
    assert isinstance(arguments, dict)
    assert arguments["s"] in ("passed", "failed")
    assert "passed" in await text_of(engine, list(answer.started.prompt_ids))


@pytest.mark.parametrize("mode", [pb.ToolChoice.AUTO, pb.ToolChoice.REQUIRED])
@pytest.mark.parametrize("parameters", ["", "{}", '{"type": "object", "properties": {}}'])
async def test_a_function_without_parameters_gets_no_arguments(
    engine: EngineClient, mode: pb.ToolChoice.Mode.ValueType, parameters: str
) -> None:
    request = chat_with(pb.Tool(name="now", parameters_json=parameters), logit_bias={EOS_ID: -6.0})
    request.tool_choice.mode = mode
    assert arguments_of(await answer_to(engine, request)) == {}


GO = """\
{{- if .Tools }}<|im_start|>system
Tools:{{ range .Tools }} {{ .Function.Name }}{{ end }}<|im_end|>
{{ end }}
{{- range .Messages }}<|im_start|>{{ .Role }}
{{ if .Thinking }}<think>{{ .Thinking }}</think>{{ end }}{{ .Content }}
{{- range .ToolCalls }}
<tool_call>
{"name": "{{ .Function.Name }}", "arguments": {{ .Function.Arguments }}}
</tool_call>{{ end }}<|im_end|>
{{ end }}<|im_start|>assistant
"""


@pytest.mark.parametrize("mode", [pb.Think.ON, pb.Think.OFF])
async def test_thinking_is_found_in_answers_to_a_go_template(
    engine: EngineClient, mode: pb.Think.Mode.ValueType
) -> None:
    request = chat_with()
    request.template = GO
    request.think.mode = mode
    answer = await answer_to(engine, request)
    thought = THOUGHT if mode == pb.Think.ON else ""
    assert (answer.thinking, answer.content) == (thought, ANSWER)
    assert not answer.started.not_honoured
    assert await text_of(engine, answer.ids) == f"<think>{THOUGHT}</think>{ANSWER}"


async def test_calls_are_found_in_answers_to_a_go_template(engine: EngineClient) -> None:
    request = chat_with(tool("get_weather"), tool("get_news"))
    request.template = GO
    request.think.mode = pb.Think.ON
    request.tool_choice.mode = pb.ToolChoice.NAMED
    request.tool_choice.name = "get_weather"
    answer = await answer_to(engine, request)
    assert (answer.thinking, answer.content) == (THOUGHT, "")
    assert (names_of(answer), arguments_of(answer)) == (["get_weather"], {"city": "Paris"})
    prompt = await text_of(engine, list(answer.started.prompt_ids))
    assert "Tools: get_weather<|im_end|>" in prompt
    request.tool_choice.Clear()
    answer = await answer_to(engine, request)
    assert (answer.thinking, answer.content, parts_of(answer)) == (THOUGHT, ANSWER, [])
    assert "Tools: get_weather get_news" in await text_of(engine, list(answer.started.prompt_ids))


async def test_a_format_holds_beside_the_tools_of_a_go_template(engine: EngineClient) -> None:
    request = chat_with(tool("get_weather"))
    request.template = GO
    request.json_schema = FORMAT
    request.sampling.logit_bias[(await tokens_of(engine, "{"))[0]] = 5.0
    answer = await answer_to(engine, request)
    assert (answer.thinking, json.loads(answer.content)) == (THOUGHT, {"a": "xy"})


async def test_a_go_template_without_tools_has_none(engine: EngineClient) -> None:
    request = chat_with(tool("get_weather"))
    request.template = "{{ range .Messages }}{{ .Content }}{{ end }}"
    assert isinstance(await leaf_of(engine, request), CapabilityMissing)


async def test_a_certain_function_can_be_chosen(engine: EngineClient) -> None:
    request = chat_with(tool("get_weather"), tool("get_news"))
    request.tool_choice.mode = pb.ToolChoice.NAMED
    for name in ("get_weather", "get_news"):
        request.tool_choice.name = name
        assert names_of(await answer_to(engine, request)) == [name]
    request.tool_choice.name = "get_lost"
    assert isinstance(await leaf_of(engine, request), InvalidRequest)


async def test_calls_can_be_forbidden(engine: EngineClient) -> None:
    request = chat_with(tool("get_weather"))
    request.tool_choice.mode = pb.ToolChoice.NONE
    answer = await answer_to(engine, request)
    assert (answer.content, parts_of(answer)) == (ANSWER, [])
    assert "get_weather" not in await text_of(engine, list(answer.started.prompt_ids))


async def test_a_call_without_arguments(engine: EngineClient) -> None:
    request = chat_with(pb.Tool(name="now"))
    request.tool_choice.mode = pb.ToolChoice.REQUIRED
    answer = await answer_to(engine, request)
    assert (names_of(answer), arguments_of(answer)) == (["now"], {})
    assert parts_of(answer)[-1].complete


async def test_a_call_that_the_limit_cut_is_not_whole(engine: EngineClient) -> None:
    request = chat_with(tool("get_weather"))
    request.tool_choice.mode = pb.ToolChoice.REQUIRED
    whole = await answer_to(engine, request)
    request.sampling.max_tokens = counts_of(whole)[-1] - 12
    answer = await answer_to(engine, request)
    assert names_of(answer) == ["get_weather"]
    assert not any(part.complete for part in parts_of(answer))
    assert answer.done.finish_reason == pb.Done.LENGTH
    assert answer.done.completion_tokens == request.sampling.max_tokens


async def test_what_a_tool_answered_is_in_the_prompt(engine: EngineClient) -> None:
    request = chat_with(tool("get_weather"))
    call = pb.ToolCall(id="call_a1b2c3d4", name="get_weather", arguments_json='{"city": "Paris"}')
    request.chat.messages.add(role="assistant", thinking="Let me ask.", tool_calls=[call])
    request.chat.messages.add(role="tool", content="Rain.", tool_call_id=call.id, tool_name="get_weather")
    text = await text_of(engine, list((await answer_to(engine, request)).started.prompt_ids))
    assert "<think>\nLet me ask.\n</think>" in text
    assert '{"name": "get_weather", "arguments": {"city": "Paris"}}' in text
    assert "<tool_response>\nRain." in text


@pytest.mark.parametrize(
    "schema", [True, {"enum": []}, {"type": "any"}, {"description": "A number."}, {"$ref": "#/nowhere"}]
)
@pytest.mark.parametrize("mode", [pb.ToolChoice.AUTO, pb.ToolChoice.REQUIRED])
async def test_schemas_that_ollama_takes_are_taken(
    engine: EngineClient, schema: object, mode: pb.ToolChoice.Mode.ValueType
) -> None:
    parameters = {"type": "object", "properties": {"a": schema}, "required": ["a"]}
    request = chat_with(tool("get_weather", json.dumps(parameters)), max_tokens=12)
    request.tool_choice.mode = mode
    assert (await answer_to(engine, request)).done.finish_reason in (pb.Done.STOP, pb.Done.LENGTH)


async def test_a_schema_holds_after_the_thinking(engine: EngineClient) -> None:
    request = chat_with(max_tokens=60)
    request.json_schema = json.dumps(
        {
            "type": "object",
            "properties": {"a": {"enum": ["xy"]}},
            "required": ["a"],
            "additionalProperties": False,
        }
    )
    answer = await answer_to(engine, request)
    assert (answer.thinking, json.loads(answer.content)) == (THOUGHT, {"a": "xy"})
    request.think.mode = pb.Think.OFF
    answer = await answer_to(engine, request)
    assert (answer.thinking, json.loads(answer.content)) == ("", {"a": "xy"})


async def test_any_json_holds_after_the_thinking(engine: EngineClient) -> None:
    request = chat_with(max_tokens=20)
    request.any_json = True
    answer = await answer_to(engine, request)
    assert answer.thinking == THOUGHT
    assert answer.content.startswith("{")


@pytest.mark.parametrize(
    ("stops", "thinking", "content", "matched"),
    [
        (["lo th"], THOUGHT, "Hel", "lo th"),
        (["nowhere", "of the"], "I think ", "", "of the"),
        (["there is"], THOUGHT, ANSWER, ""),
    ],
)
async def test_stop_texts(
    engine: EngineClient, stops: list[str], thinking: str, content: str, matched: str
) -> None:
    answer = await answer_to(engine, chat_with(stop=stops))
    assert (answer.thinking, answer.content, answer.done.matched_stop) == (thinking, content, matched)
    assert answer.done.finish_reason == pb.Done.STOP
    await until(engine.idle, 2, "the slot is free")


async def test_text_that_began_like_a_stop_is_shown_at_the_limit(engine: EngineClient) -> None:
    answer = await answer_to(engine, chat_with(stop=["there is"], max_tokens=11))
    assert (answer.content, answer.done.finish_reason) == (ANSWER, pb.Done.LENGTH)


async def test_logprobs_are_those_of_tokens_that_show_something(engine: EngineClient) -> None:
    request = chat_with()
    request.top_logprobs = 2
    answer = await answer_to(engine, request)
    shown = b"".join(logprob.token for logprob in answer.logprobs).decode()
    assert shown == THOUGHT + ANSWER
    assert {len(logprob.top) for logprob in answer.logprobs} == {2}


async def test_the_oldest_messages_give_way_to_the_tools(engine: EngineClient) -> None:
    request = chat_with(tool("get_weather"), content="first", max_tokens=1)
    request.chat.messages.insert(0, pb.Message(role="system", content="Be kind."))
    for number in range(60):
        request.chat.messages.add(role="user", content=f"This is message number {number} of many.")
    answer = await answer_to(engine, request)
    text = await text_of(engine, list(answer.started.prompt_ids))
    assert answer.started.truncated_tokens > 0
    assert all(part in text for part in ("Be kind.", "get_weather", "number 59 "))
    assert "number 0 " not in text
    # llama.cpp made the same prompt of the same messages.
    assert (await answer_to(engine, request)).done.cached_tokens == len(answer.started.prompt_ids) - 1
    request.context.truncate = False
    assert isinstance(await leaf_of(engine, request), ContextExceeded)


async def test_a_message_that_is_too_long_loses_its_beginning(engine: EngineClient) -> None:
    words = " ".join(f"word{number}" for number in range(600))
    request = chat_with(tool("get_weather"), content=f"begin {words} end", max_tokens=1)
    answer = await answer_to(engine, request)
    text = await text_of(engine, list(answer.started.prompt_ids))
    assert "get_weather" in text
    assert "begin" not in text
    assert text.endswith(" end<|im_end|>\n<|im_start|>assistant\n")
    length = len(answer.started.prompt_ids)
    # Ollama's half of the window, less what cut text may take more.
    assert CONTEXT_LENGTH // 2 - 16 < length <= CONTEXT_LENGTH // 2 + 2
    assert answer.started.truncated_tokens > 600
    assert (await answer_to(engine, request)).done.cached_tokens == length - 1


async def test_tools_that_leave_no_room_are_refused(engine: EngineClient) -> None:
    leaf = await leaf_of(engine, chat_with(*(tool(f"get_number_{number}") for number in range(20))))
    assert isinstance(leaf, ContextExceeded)
    assert "the tools" in leaf.message


async def test_an_assistants_message_goes_on(engine: EngineClient) -> None:
    request = chat_with()
    request.chat.messages.add(role="assistant", content="He", thinking="Well.")
    request.chat.continue_last = True
    answer = await answer_to(engine, request)
    assert (answer.thinking, answer.content) == ("", "llo there")


async def test_what_an_assistant_said_in_two_messages_goes_on(engine: EngineClient) -> None:
    request = chat_with()
    request.chat.messages.add(role="assistant", content="Well.")
    request.chat.messages.add(role="assistant", content="He")
    request.chat.continue_last = True
    answer = await answer_to(engine, request)
    assert answer.content == "llo there"
    assert (await text_of(engine, list(answer.started.prompt_ids))).endswith("Well.\n\nHe")


@pytest.mark.parametrize("mode", [pb.Think.UNSET, pb.Think.OFF])
@pytest.mark.parametrize("begun", ["He", '{"a":"x'])
async def test_a_schema_holds_for_what_is_added_to_a_begun_answer(
    engine: EngineClient, begun: str, mode: pb.Think.Mode.ValueType
) -> None:
    request = chat_with(tool("get_weather"), max_tokens=60)
    request.think.mode = mode
    request.json_schema = json.dumps(
        {
            "type": "object",
            "properties": {"a": {"enum": ["xy"]}},
            "required": ["a"],
            "additionalProperties": False,
        }
    )
    request.chat.messages.add(role="assistant", content=begun)
    request.chat.continue_last = True
    answer = await answer_to(engine, request)
    assert json.loads(answer.content) == {"a": "xy"}
    assert list(answer.started.not_honoured) == ["tools"]


async def test_far_more_requests_than_slots_all_get_their_answer(engine: EngineClient) -> None:
    answers = await asyncio.gather(
        *(
            answer_to(engine, chat_with(tool("get_weather"), content=f"Number {number}."))
            for number in range(60)
        )
    )
    assert {(answer.thinking, answer.content) for answer in answers} == {(THOUGHT, ANSWER)}
    await until(engine.idle, 2, "all slots are free")
    assert (await engine.load()).kv_tokens_used == 0


ALWAYS_THINKS = """\
{%- for message in messages -%}
<|im_start|>{{ message.role }}
{{ message.content.split('</think>')[-1] }}<|im_end|>
{% endfor -%}
{%- if add_generation_prompt -%}
<|im_start|>assistant
<think>
{% endif -%}
"""


@pytest.fixture
async def always_thinks(tmp_path: Path) -> AsyncIterator[EngineClient]:
    write_scripted_gguf(tmp_path / "model.gguf", ALWAYS_THINKS, ("Ċ", *SCRIPTS[0][2:]))
    flags = ("--engine", "llamacpp", "--model", str(tmp_path / "model.gguf"), "--slots", "1")
    with worker(tmp_path / "worker.log", *flags) as process:
        async with engine_client(process.address) as client:
            yield client


ALWAYS_THINKS_AND_CALLS = THINKING_AND_TOOLS[: THINKING_AND_TOOLS.index("{% if enable_thinking")] + (
    "<think>\n{% endif -%}\n"
)


@pytest.mark.parametrize("mode", [pb.Think.UNSET, pb.Think.OFF])
async def test_a_forced_call_follows_thinking_that_the_prompt_began(
    tmp_path: Path, mode: pb.Think.Mode.ValueType
) -> None:
    write_scripted_gguf(
        tmp_path / "model.gguf", ALWAYS_THINKS_AND_CALLS, ("Ċ", *SCRIPTS[0][2:]), *SCRIPTS[2:]
    )
    flags = ("--engine", "llamacpp", "--model", str(tmp_path / "model.gguf"), "--slots", "1")
    request = chat_with(tool("get_weather"))
    request.think.mode = mode
    request.tool_choice.mode = pb.ToolChoice.REQUIRED
    request.tool_choice.parallel = False
    with worker(tmp_path / "worker.log", *flags) as process:
        async with engine_client(process.address) as client:
            answer = await answer_to(client, request)
    assert (answer.thinking, answer.content) == (THOUGHT if mode == pb.Think.UNSET else "", "")
    assert (names_of(answer), arguments_of(answer)) == (["get_weather"], {"city": "Paris"})


async def test_a_model_that_always_thinks(always_thinks: EngineClient) -> None:
    capabilities = (await always_thinks.stub.GetModel(pb.GetModelRequest())).capabilities
    assert (capabilities.tools, capabilities.thinking) == (False, True)
    answer = await answer_to(always_thinks, chat_with())
    assert (answer.thinking.strip(), answer.content) == (THOUGHT, ANSWER)
    unwanted = chat_with()
    unwanted.think.mode = pb.Think.OFF
    answer = await answer_to(always_thinks, unwanted)
    assert (answer.thinking, answer.content) == ("", ANSWER)
    assert answer.done.completion_tokens == 11
    assert isinstance(await leaf_of(always_thinks, chat_with(tool("get_weather"))), CapabilityMissing)
    goes_on = pb.GenerateRequest()
    goes_on.prompt.text = "And then?"
    goes_on.prompt.context.extend(answer.started.prompt_ids)
    assert isinstance(await leaf_of(always_thinks, goes_on), CapabilityMissing)
