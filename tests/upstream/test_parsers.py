"""SGLang's parsers behind Drover's seams: however a text is cut, the same comes out.

Runs in SGLang's environment, without an engine.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sglang.srt.entrypoints.openai.protocol import ChatCompletionRequest, Tool

from engine_worker.engines.sglang.upstream.reasoning import SglangReasoning
from engine_worker.engines.sglang.upstream.templates import Rendered
from engine_worker.engines.sglang.upstream.tool_call_parsers import call_parser
from engine_worker.output.base import CallPart, Content, OutputParser, Piece, PlainText, Thinking
from engine_worker.output.reasoning import ThinkingFirst
from engine_worker.output.tool_calls import ToolCalls

WEATHER: dict[str, object] = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string"}, "days": {"type": "integer"}},
        },
    },
}
BOSTON, PARIS = {"city": "Boston"}, {"city": "Paris", "days": 2}

# What a model of each family writes for a sentence and two calls.
CALLS = {
    "qwen25": "I look.\n"
    '<tool_call>\n{"name": "get_weather", "arguments": {"city": "Boston"}}\n</tool_call>\n'
    '<tool_call>\n{"name": "get_weather", "arguments": {"city": "Paris", "days": 2}}\n</tool_call>',
    "hermes": "I look.\n"
    '<tool_call>{"name": "get_weather", "arguments": {"city": "Boston"}}</tool_call>\n'
    '<tool_call>{"name": "get_weather", "arguments": {"city": "Paris", "days": 2}}</tool_call>',
    "qwen3_coder": "I look.\n"
    "<tool_call>\n<function=get_weather>\n<parameter=city>\nBoston\n</parameter>\n</function>\n</tool_call>\n"
    "<tool_call>\n<function=get_weather>\n<parameter=city>\nParis\n</parameter>\n<parameter=days>\n2\n"
    "</parameter>\n</function>\n</tool_call>",
    "mistral": 'I look.\n[TOOL_CALLS] [{"name": "get_weather", "arguments": {"city": "Boston"}}, '
    '{"name": "get_weather", "arguments": {"city": "Paris", "days": 2}}]',
    "mistral compact": 'I look.\n[TOOL_CALLS]get_weather[ARGS]{"city": "Boston"}'
    '[TOOL_CALLS]get_weather[ARGS]{"city": "Paris", "days": 2}',
    "llama3": 'I look.\n<|python_tag|>{"name": "get_weather", "parameters": {"city": "Boston"}};'
    '{"name": "get_weather", "parameters": {"city": "Paris", "days": 2}}',
    "glm45": "I look.\n<tool_call>get_weather\n<arg_key>city</arg_key>\n"
    "<arg_value>Boston</arg_value>\n</tool_call>\n"
    "<tool_call>get_weather\n<arg_key>city</arg_key>\n<arg_value>Paris</arg_value>\n<arg_key>days</arg_key>\n"
    "<arg_value>2</arg_value>\n</tool_call>",
    "kimi_k2": "I look.\n<|tool_calls_section_begin|><|tool_call_begin|>functions.get_weather:0"
    '<|tool_call_argument_begin|>{"city": "Boston"}<|tool_call_end|>'
    "<|tool_call_begin|>functions.get_weather:1"
    '<|tool_call_argument_begin|>{"city": "Paris", "days": 2}<|tool_call_end|><|tool_calls_section_end|>',
    "minimax-m2": "I look.\n<minimax:tool_call>\n"
    '<invoke name="get_weather">\n<parameter name="city">Boston</parameter>\n</invoke>\n'
    '<invoke name="get_weather">\n<parameter name="city">Paris</parameter>\n'
    '<parameter name="days">2</parameter>\n</invoke>\n</minimax:tool_call>',
    "deepseekv31": "I look.\n<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>get_weather<｜tool▁sep｜>"
    '{"city": "Boston"}<｜tool▁call▁end｜><｜tool▁call▁begin｜>get_weather<｜tool▁sep｜>'
    '{"city": "Paris", "days": 2}<｜tool▁call▁end｜><｜tool▁calls▁end｜>',
    "deepseekv3": "I look.\n<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>function<｜tool▁sep｜>get_weather\n"
    '```json\n{"city": "Boston"}\n```<｜tool▁call▁end｜>\n<｜tool▁call▁begin｜>function<｜tool▁sep｜>'
    'get_weather\n```json\n{"city": "Paris", "days": 2}\n```<｜tool▁call▁end｜><｜tool▁calls▁end｜>',
}


def rendered(opens_thinking: bool = False, tools: Sequence[dict[str, object]] = ()) -> Rendered:
    request = ChatCompletionRequest(
        messages=[], tools=list(tools) or None, tool_choice="auto" if tools else "none"
    )
    return Rendered(ids=[], tools=list(request.tools or ()), request=request, opens_thinking=opens_thinking)


def calls_parser(name: str) -> ToolCalls:
    name = name.split()[0]
    return ToolCalls(
        call_parser(name, rendered(tools=[WEATHER]), None, forced=False), make_id=lambda n: f"id{n}"
    )


def thinking_parser(name: str = "qwen3", opens_thinking: bool = False) -> ThinkingFirst:
    return ThinkingFirst(
        SglangReasoning(name, rendered(opens_thinking), None, constrained=False), PlainText()
    )


def feed(parser: OutputParser, pieces: Sequence[str]) -> list[Piece]:
    out: list[Piece] = []
    for piece in pieces:
        out += parser.feed(piece)
    return [*out, *parser.finish()]


def summed(pieces: Sequence[Piece]) -> tuple[str, str, dict[int, tuple[str, object]]]:
    content = "".join(piece.text for piece in pieces if isinstance(piece, Content))
    thinking = "".join(piece.text for piece in pieces if isinstance(piece, Thinking))
    names: dict[int, str] = {}
    arguments: dict[int, str] = {}
    for piece in pieces:
        if isinstance(piece, CallPart):
            names[piece.index] = names.get(piece.index, "") + piece.name
            arguments[piece.index] = arguments.get(piece.index, "") + piece.arguments
    return content, thinking, {at: (names[at], json.loads(text)) for at, text in arguments.items()}


def cut(text: str, places: Sequence[int]) -> list[str]:
    borders = [0, *sorted({place % len(text) for place in places}), len(text)]
    return [text[start:end] for start, end in itertools.pairwise(borders)]


@pytest.mark.parametrize("name", sorted(CALLS))
def test_a_whole_answer_in_one_piece(name: str) -> None:
    content, _, calls = summed(feed(calls_parser(name), [CALLS[name]]))
    assert calls == {0: ("get_weather", BOSTON), 1: ("get_weather", PARIS)}
    assert content.strip() == "I look."


@pytest.mark.parametrize("name", sorted(CALLS))
def test_a_character_at_a_time(name: str) -> None:
    content, _, calls = summed(feed(calls_parser(name), list(CALLS[name])))
    assert calls == {0: ("get_weather", BOSTON), 1: ("get_weather", PARIS)}
    assert content.strip() == "I look."


@pytest.mark.parametrize("name", sorted(CALLS))
@given(places=st.lists(st.integers(0, 1000), max_size=12))
@settings(max_examples=60, deadline=None)
def test_however_it_is_cut(name: str, places: list[int]) -> None:
    content, _, calls = summed(feed(calls_parser(name), cut(CALLS[name], places)))
    assert calls == {0: ("get_weather", BOSTON), 1: ("get_weather", PARIS)}
    assert content.strip() == "I look."


@given(places=st.lists(st.integers(0, 1000), max_size=12))
@settings(max_examples=200, deadline=None)
def test_thinking_however_it_is_cut(places: list[int]) -> None:
    text = "  <think>\n Let me see.\n</think>\n\nParis < Rome </thin> it is. "
    content, thinking, _ = summed(feed(thinking_parser(), cut(text, places)))
    assert thinking == "Let me see.\n"
    assert content == "Paris < Rome </thin> it is. "


@given(places=st.lists(st.integers(0, 1000), max_size=8))
@settings(max_examples=100, deadline=None)
def test_an_answer_that_did_not_think(places: list[int]) -> None:
    text = "  No tags, <b>but</b> a tool_call. "
    assert summed(feed(thinking_parser(), cut(text, places))) == (text, "", {})


def test_a_prompt_that_opened_the_thinking() -> None:
    content, thinking, _ = summed(
        feed(thinking_parser(opens_thinking=True), ["so ", "be it", "</think>", "Yes"])
    )
    assert (thinking, content) == ("so be it", "Yes")


def test_thinking_that_is_not_wanted_is_dropped() -> None:
    reasoning = SglangReasoning("deepseek-r1", rendered(True), None, constrained=False)
    parser = ThinkingFirst(reasoning, PlainText(), shown=False)
    assert summed(feed(parser, ["hm", "</think>", "\nYes"])) == ("Yes", "", {})


def pieces_of(text: str) -> list[list[str]]:
    """A text as a whole, in characters, and cut in between."""
    return [[text], list(text), [text[at : at + 7] for at in range(0, len(text), 7)]]


# A call of a function that was not offered, and a mention of what begins a call.
NO_CALLS = {
    "qwen25": [
        '<tool_call>\n{"name": "nope", "arguments": {"q": 1}}\n</tool_call>',
        "Use the <tool_call> tag to call it.",
    ],
    "hermes": [
        'So: <tool_call>{"name": "nope", "arguments": {"q": 1}}</tool_call> then.',
        "Use the <tool_call> tag to call it.",
    ],
    "mistral": [
        '[TOOL_CALLS] [{"name": "nope", "arguments": {"q": 1}}]',
        '[TOOL_CALLS]nope[ARGS]{"q": 1}',
        "Use [TOOL_CALLS] to call it.",
    ],
    "qwen3_coder": [
        "<tool_call>\n<function=nope>\n<parameter=q>\n1\n</parameter>\n</function>\n</tool_call>",
        "Use the <tool_call> tag and <function= in it.",
    ],
    "llama3": [
        '<|python_tag|>{"name": "nope", "parameters": {"q": 1}}',
        "See <|python_tag|> there.",
        '{"a": 1}',
    ],
    "glm45": [
        "<tool_call>nope\n<arg_key>q</arg_key>\n<arg_value>1</arg_value>\n</tool_call>",
        "Use the <tool_call> tag to call it.",
    ],
    "kimi_k2": [
        "<|tool_calls_section_begin|><|tool_call_begin|>functions.nope:0<|tool_call_argument_begin|>"
        '{"q": 1}<|tool_call_end|><|tool_calls_section_end|>',
    ],
    "minimax-m2": ["Use <minimax:tool_call> please."],
    "deepseekv31": [
        "<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>nope<｜tool▁sep｜>"
        '{"q": 1}<｜tool▁call▁end｜><｜tool▁calls▁end｜>',
    ],
    "pythonic": ["[nope(q=1)]", "See [get_weather] and [1, 2].", "[get_weathers(city='Oslo')]"],
}


@pytest.mark.parametrize(
    ("name", "text"), [(name, text) for name, texts in NO_CALLS.items() for text in texts]
)
def test_text_that_is_no_call_is_shown_unchanged(name: str, text: str) -> None:
    for pieces in pieces_of(text):
        assert summed(feed(calls_parser(name), pieces)) == (text, "", {})


OTHER_CALLS = {
    "qwen25": '<tool_call>\n{"name": "get_weather", "arguments": "{\\"city\\": \\"Boston\\"}"}\n</tool_call>',
    "hermes": '<tool_call>{"arguments": {"city": "Boston"}, "name": "get_weather"}</tool_call>',
    "mistral": '[TOOL_CALLS][{"name": "get_weather", "arguments": {"city": "Boston"}}]',
    "mistral spaced": '[TOOL_CALLS] [ {"name": "get_weather", "arguments": "{\\"city\\": \\"Boston\\"}"} ]',
    "mistral id": '[TOOL_CALLS]get_weather[CALL_ID]a1B2c3D4e[ARGS]{"city": "Boston"}',
    "qwen3_coder": "<function=get_weather>\n<parameter=city>\nBoston\n</parameter>\n</function>",
    "llama3": '<|python_tag|>{"name": "get_weather", "parameters": "{\\"city\\": \\"Boston\\"}"}',
    "pythonic": '[get_weather(city="Boston")]',
}


@pytest.mark.parametrize("name", sorted(OTHER_CALLS))
def test_every_call_is_found(name: str) -> None:
    for pieces in pieces_of(OTHER_CALLS[name]):
        assert summed(feed(calls_parser(name), pieces)) == ("", "", {0: ("get_weather", BOSTON)})


def test_a_call_behind_a_mention_of_its_mark_is_not_lost() -> None:
    for name in ("qwen25", "hermes", "qwen3_coder", "glm45", "minimax-m2"):
        call = CALLS[name].removeprefix("I look.\n")
        mark = call[: call.index(">") + 1]
        for pieces in pieces_of(f"I use {mark} now. {call}"):
            content, _, calls = summed(feed(calls_parser(name), pieces))
            assert (content.rstrip(), calls[1]) == (f"I use {mark} now.", ("get_weather", PARIS))


@pytest.mark.parametrize("name", sorted(CALLS))
def test_forced_calls_have_no_text_wherever_they_are_cut(name: str) -> None:
    call = CALLS[name].removeprefix("I look.\n")
    request = ChatCompletionRequest(messages=[], tools=[WEATHER], tool_choice="required")
    made = Rendered(
        ids=[], tools=list(request.tools or ()), request=request, constraint=("structural_tag", "")
    )
    for end in range(1, len(call)):
        parser = ToolCalls(call_parser(name.split()[0], made, None, forced=True))
        assert not [piece for piece in feed(parser, list(call[:end])) if isinstance(piece, Content)]


@given(places=st.lists(st.integers(0, 1000), max_size=12))
@settings(max_examples=60, deadline=None)
def test_a_call_of_llama_without_its_mark(places: list[int]) -> None:
    text = '{"name": "get_weather", "parameters": {"city": "Boston"}}'
    assert summed(feed(calls_parser("llama3"), cut(text, places))) == ("", "", {0: ("get_weather", BOSTON)})


def test_a_call_that_is_cut_off_is_not_complete() -> None:
    text = '<tool_call>\n{"name": "get_weather", "arguments": {"city": "Bos'
    parts = [piece for piece in feed(calls_parser("qwen25"), list(text)) if isinstance(piece, CallPart)]
    assert parts
    assert not any(part.complete for part in parts)


def test_forced_calls_of_a_model_without_a_format_are_an_array() -> None:
    request = ChatCompletionRequest(messages=[], tools=[WEATHER], tool_choice="required")
    made = Rendered(ids=[], tools=[Tool(**WEATHER)], request=request)
    text = '[{"name": "get_weather", "parameters": {"city": "Boston"}}]'
    for pieces in ([text], list(text)):
        parser = ToolCalls(call_parser("pythonic", made, None, forced=True))
        assert summed(feed(parser, pieces))[2] == {0: ("get_weather", BOSTON)}
