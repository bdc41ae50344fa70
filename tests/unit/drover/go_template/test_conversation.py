"""Prompts that templates render from messages and tools, as Ollama does."""

from __future__ import annotations

import json

import orjson
import pytest

from drover.go_template.errors import TemplateError
from drover.go_template.template import parse
from drover.v1 import engine_pb2 as pb
from tests.fakes.transcripts import case, scripted_case
from tests.unit.drover.go_template import library

WEATHER = pb.Tool(
    name="get_weather",
    description="Weather",
    parameters_json='{"type":"object","properties":{"city":{"type":"string"}},"required":["city"]}',
)


def turns(*parts: tuple[str, str]) -> list[pb.Message]:
    return [pb.Message(role=role, content=content) for role, content in parts]


HISTORY = turns(("system", "Be brief."), ("user", "Hi"), ("assistant", "Hello!"), ("user", "Bye"))


@pytest.mark.parametrize(
    ("source", "text"),
    [
        (
            library.CHATML,
            "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nHi<|im_end|>\n"
            "<|im_start|>assistant\nHello!<|im_end|>\n<|im_start|>user\nBye<|im_end|>\n<|im_start|>assistant\n",
        ),
        (
            library.ALPACA,
            "Be brief.\n\n### Instruction:\nHi\n\n### Response:\nHello!\n\n"
            "### Instruction:\nBye\n\n### Response:\n",
        ),
        (library.MISTRAL, "[INST] Be brief. Hi [/INST]Hello!</s>[INST] Bye [/INST]"),
        (
            library.GEMMA,
            "<start_of_turn>user\nBe brief. Hi<end_of_turn>\n<start_of_turn>model\nHello!<end_of_turn>\n"
            "<start_of_turn>user\nBye<end_of_turn>\n<start_of_turn>model\n",
        ),
        (
            library.LLAMA3,
            "<|start_header_id|>system<|end_header_id|>\n\nBe brief.<|eot_id|>"
            "<|start_header_id|>user<|end_header_id|>\n\nHi<|eot_id|>"
            "<|start_header_id|>assistant<|end_header_id|>\n\nHello!<|eot_id|>"
            "<|start_header_id|>user<|end_header_id|>\n\nBye<|eot_id|>"
            "<|start_header_id|>assistant<|end_header_id|>\n\n",
        ),
        (
            library.PHI3,
            "<|system|>\nBe brief.<|end|>\n<|user|>\nHi<|end|>\n<|assistant|>\nHello!<|end|>\n"
            "<|user|>\nBye<|end|>\n<|assistant|>\n",
        ),
        (
            library.QWEN,
            "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nHi<|im_end|>\n"
            "<|im_start|>assistant\nHello!<|im_end|>\n<|im_start|>user\nBye<|im_end|>\n<|im_start|>assistant\n",
        ),
    ],
    ids=["chatml", "alpaca", "mistral", "gemma", "llama3", "phi3", "qwen"],
)
def test_a_conversation_in_the_librarys_templates(source: str, text: str) -> None:
    assert parse(source).render_chat(HISTORY) == text


def test_tools_their_calls_and_their_results() -> None:
    call = pb.ToolCall(name="get_weather", arguments_json='{"units":"<C>","city":"Boston"}')
    messages = [
        *turns(("user", "weather?")),
        pb.Message(role="assistant", tool_calls=[call]),
        pb.Message(role="tool", content="22 C", tool_name="get_weather"),
        pb.Message(role="tool", content="dry", tool_name="get_weather"),
    ]
    assert parse(library.QWEN).render_chat(messages, [WEATHER]) == (
        "<|im_start|>system\n\n# Tools\n\n<tools>\n"
        '{"type": "function", "function": {"name":"get_weather","description":"Weather","parameters":'
        '{"type":"object","required":["city"],"properties":{"city":{"type":"string"}}}}}\n'
        "</tools><|im_end|>\n<|im_start|>user\nweather?<|im_end|>\n<|im_start|>assistant\n<tool_call>\n"
        '{"name": "get_weather", "arguments": {"city":"Boston","units":"\\u003cC\\u003e"}}\n'
        "</tool_call><|im_end|>\n<|im_start|>user\n<tool_response>\n22 C\n</tool_response><|im_end|>\n"
        "<|im_start|>user\n<tool_response>\ndry\n</tool_response><|im_end|>\n<|im_start|>assistant\n"
    )


def test_a_started_answer_stays_open_in_templates_with_messages() -> None:
    messages = turns(("user", "Hi"), ("assistant", "Well"))
    rendered = parse(library.QWEN).render_chat(messages)
    assert rendered == "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\nWell"


def test_recorded_prompt_of_a_tool_history() -> None:
    recorded = scripted_case("chat tool history rendered")
    messages = [
        pb.Message(
            role=each["role"],
            content=each["content"],
            thinking=each.get("thinking", ""),
            tool_calls=[
                pb.ToolCall(
                    name=call["function"]["name"],
                    arguments_json=orjson.dumps(call["function"]["arguments"]).decode(),
                )
                for call in each.get("tool_calls", [])
            ],
        )
        for each in orjson.loads(recorded.body)["messages"]
    ]
    template = parse(library.THINKER)
    assert template.render_chat(messages, [WEATHER]) == _rendered(recorded.answer)
    assert template.uses("tools")
    assert template.uses("Thinking")
    assert not template.uses("suffix")


@pytest.mark.parametrize(
    ("name", "messages"),
    [
        ("chat debug render", turns(("user", "What is the capital of France?"))),
        ("generate debug render", turns(("system", "S"), ("user", "What is the capital of France?"))),
    ],
)
def test_recorded_prompts(name: str, messages: list[pb.Message]) -> None:
    assert parse(library.CHATML).render_chat(messages) == _rendered(case(name).answer)


def _rendered(answer: str) -> str:
    text: str = orjson.loads(answer)["_debug_info"]["rendered_template"]
    return text


def test_a_template_without_an_answer_gets_one() -> None:
    """As the preset of case "chat created" in the transcripts."""
    messages = turns(("system", "Be a pirate."), ("user", "q"), ("assistant", "a"), ("user", "capital?"))
    assert parse("{{ .Prompt }}").render_chat(messages) == "qacapital?"
    assert parse("{{ .Prompt }}!").render_chat(messages) == "q!acapital?!"


@pytest.mark.parametrize(
    ("source", "text"),
    [
        ("{{ .Prompt }}>{{ .Response }}<end>", "q>a<end>Q>"),
        ("{{ .Prompt }}{{ if .Response }}>{{ .Response }}<end>{{ end }}|", "q>a<end>|Q"),
        ("{{ if .Prompt }}{{ .Prompt }}{{ .Response }}{{ else }}none{{ end }}|", "qa|Q"),
        ('{{ .Prompt }}{{ printf "%s" .Response }}|', "qa|Q"),
        ("{{ .Prompt }}{{ $.Response }}|", "qa|Q|"),
    ],
)
def test_the_last_turn_ends_where_the_answer_begins(source: str, text: str) -> None:
    assert parse(source).render_chat(turns(("user", "q"), ("assistant", "a"), ("user", "Q"))) == text


def test_a_started_answer_in_a_template_of_one_exchange() -> None:
    assert (
        parse(library.MISTRAL).render_chat(turns(("user", "q"), ("assistant", "We"))) == "[INST] q [/INST]We"
    )


def test_a_system_message_in_between_begins_a_turn() -> None:
    messages = turns(("user", "a"), ("system", "S"), ("user", "b"))
    assert parse("<{{ .System }}|{{ .Prompt }}|{{ .Response }}>").render_chat(messages) == "<|a|><S|b|"


def test_consecutive_messages_of_one_role_are_joined() -> None:
    messages = turns(("user", "a"), ("user", ""), ("user", "b"), ("tool", "x"), ("tool", "y"))
    source = "{{ range .Messages }}[{{ .Role }} {{ .Content }}]{{ end }}"
    assert parse(source).render_chat(messages) == "[user a\n\nb][tool x][tool y]"
    assert [message.content for message in messages] == ["a", "", "b", "x", "y"]


def test_joining_messages_keeps_all_calls() -> None:
    call = pb.Message(role="assistant", thinking="t", tool_calls=[pb.ToolCall(name="f", id="call_1")])
    source = (
        "{{ range .Messages }}{{ .Content }}{{ .Thinking }}{{ range .ToolCalls }}{{ .ID }}{{ end }}{{ end }}"
    )
    assert parse(source).render_chat([*turns(("assistant", "Let me see.")), call]) == "Let me see.tcall_1"


def test_all_system_messages_are_one_text() -> None:
    messages = turns(("system", "a"), ("user", "u"), ("system", "b"))
    assert parse("{{ .System }}{{ if .Messages }}{{ end }}").render_chat(messages) == "a\n\nb"


@pytest.mark.parametrize(
    ("think", "text"),
    [
        (pb.Think(), "false||false"),
        (pb.Think(mode=pb.Think.OFF), "false||true"),
        (pb.Think(mode=pb.Think.ON), "true|medium|true"),
        (pb.Think(mode=pb.Think.ON, level="high"), "true|high|true"),
    ],
)
def test_thinking(think: pb.Think, text: str) -> None:
    source = "{{ .Think }}|{{ .ThinkLevel }}|{{ .IsThinkSet }}"
    assert parse(source).render_chat([], (), think) == text
    assert parse(source + "{{ if .Messages }}{{ end }}").render_chat([], (), think) == text
    assert parse(source).render_gap("", "", think) == text


def test_the_prompt_of_an_insertion() -> None:
    template = parse(library.FILL_IN)
    assert template.uses("suffix")
    assert template.render_gap("def f(", "return 1") == "<PRE> def f( <SUF>return 1 <MID>"


def test_fields_of_tools() -> None:
    tool = pb.Tool(
        name="f",
        description="d",
        parameters_json=orjson.dumps(
            {
                "type": "object",
                "additionalProperties": False,
                "required": ["b"],
                "properties": {
                    "b": {"type": ["string", "null"], "description": "<B>", "enum": ["x", 1], "format": "y"},
                    "a": {"anyOf": [{"type": "integer"}, {"type": "array", "items": {"type": "string"}}]},
                    "c": {"type": "object", "properties": {"d": {"type": "boolean"}}},
                    "e": True,
                },
            }
        ).decode(),
    )
    source = """\
{{ range .Tools }}{{ .Type }} {{ .Function.Name }} {{ .Function.Description }} {{ .Function.Parameters.Type }}
{{ .Function.Parameters.Required }}{{ range $name, $p := .Function.Parameters.Properties }}
{{ $name }}:{{ $p.Type }}:{{ $p.Description }}:{{ $p.Enum }}:{{ toTypeScriptType $p }}{{ end }}
{{ json .Function.Parameters.Properties }}
{{ .Function.Parameters }}
{{ json . }}{{ end }}{{ with .Messages }}{{ end }}"""
    properties = (
        '{"a":{"anyOf":[{"type":"integer"},{"type":"array","items":{"type":"string"}}]},'
        '"b":{"type":["string","null"],"description":"\\u003cB\\u003e","enum":["x",1],"format":"y"},'
        '"c":{"type":"object","properties":{"d":{"type":"boolean"}}},"e":{}}'
    )
    parameters = (
        f'{{"type":"object","required":["b"],"properties":{properties},"additionalProperties":false}}'
    )
    assert parse(source).render_chat([], [tool]).split("\n") == [
        "function f d object",
        "[b]",
        "a:::[]:number | any[]",
        "b:[string null]:<B>:[x 1]:string | null",
        "c:object::[]:Record<string, any>",
        "e:::[]:any",
        properties,
        parameters,
        f'{{"type":"function","function":{{"name":"f","description":"d","parameters":{parameters}}}}}',
    ]


def test_a_tool_without_parameters() -> None:
    assert parse("{{ .Tools }}{{ .Messages }}").render_chat([], [pb.Tool(name="f")]) == (
        '[{"type":"function","function":{"name":"f","description":"",'
        '"parameters":{"type":"object","properties":{}}}}][]'
    )


@pytest.mark.parametrize("broken", ["{", "[]", "1"])
def test_tools_that_are_no_objects(broken: str) -> None:
    with pytest.raises(TemplateError, match="'f'"):
        parse("{{ .Messages }}{{ .Tools }}").render_chat([], [pb.Tool(name="f", parameters_json=broken)])


@pytest.mark.parametrize("broken", ['{"a": "b', "[]", "1", "no JSON"])
def test_arguments_that_are_no_objects_are_shown_as_text(broken: str) -> None:
    """A client sends back what a model wrote, whole or not."""
    call = pb.Message(role="assistant", tool_calls=[pb.ToolCall(name="f", arguments_json=broken)])
    template = parse("{{ range .Messages }}{{ range .ToolCalls }}{{ .Function.Arguments }}{{ end }}{{ end }}")

    assert template.render_chat([call], []) == json.dumps({"INVALID_JSON": broken}, separators=(",", ":"))


def test_fields_that_a_template_mentions() -> None:
    source = """{{ define "x" }}{{ .Extra }}{{ end }}
{{ with $.System }}{{ (index .Messages 0).Role }}{{ end }}
{{ range $i, $x := .Tools }}{{ $x.Name | printf "%s" }}{{ end }}{{ template "x" .Inner }}"""
    assert parse(source).variables == {"extra", "system", "messages", "role", "tools", "name", "inner"}


def test_a_message_as_json_has_gos_order_and_nulls() -> None:
    call = pb.ToolCall(id="c", name="f", arguments_json='{"b":1,"a":null}')
    messages = [
        pb.Message(role="user", content="hi"),
        pb.Message(role="assistant", tool_calls=[call], thinking="t"),
    ]

    assert parse("{{ json .Messages }}").render_chat(messages) == (
        '[{"Role":"user","Content":"hi","Thinking":"","Images":null,"ToolCalls":null,"ToolName":"",'
        '"ToolCallID":""},{"Role":"assistant","Content":"","Thinking":"t","Images":null,"ToolCalls":'
        '[{"ID":"c","Function":{"Index":0,"Name":"f","Arguments":{"a":null,"b":1}}}],"ToolName":"",'
        '"ToolCallID":""}]'
    )


@pytest.mark.parametrize(
    ("source", "text"),
    [
        ("{{ json .Tools }}|{{ .Tools }}|{{ len .Tools }}", "null|null|0"),
        (
            "{{ range .Messages }}{{ json .ToolCalls }}{{ .ToolCalls }}{{ json .Images }}{{ end }}",
            "null[]null",
        ),
        ("{{ if .Tools }}a{{ else }}b{{ end }}{{ range .Tools }}{{ else }}c{{ end }}", "bc"),
    ],
)
def test_missing_values_print_as_gos_nil(source: str, text: str) -> None:
    """`source` gets `.Messages`, so that it is run once."""
    assert parse(source + "{{ with .Messages }}{{ end }}").render_chat(turns(("user", "hi"))) == text


@pytest.mark.parametrize(
    ("source", "error"),
    [
        ("{{ .Prompt.Foo }}", "<.Prompt.Foo>: can't evaluate field Foo in type interface {}"),
        ("{{ $x := .Prompt }}{{ $x.Foo }}", "<$x.Foo>: can't evaluate field Foo in type string"),
        (
            "{{ range .Messages }}{{ .Role.Foo }}{{ end }}",
            "<.Role.Foo>: can't evaluate field Foo in type string",
        ),
        ("{{ currentDate }}", '<currentDate>: "currentDate" is not a defined function'),
        ("{{ json .Prompt }}", '<json>: "json" is not a defined function'),
        (
            "{{ slice (index .Messages 0).Content 0 9 }}",
            "<slice (index .Messages 0).Content 0 9>: error calling slice: index out of range: 9",
        ),
    ],
)
def test_errors_of_an_execution(source: str, error: str) -> None:
    with pytest.raises(TemplateError) as failed:
        parse(source).render_chat(turns(("user", "hi")))

    assert failed.value.message.partition("executing ")[2] == f'"" at {error}'


def test_ollamas_functions_are_there_in_templates_of_whole_conversations() -> None:
    assert parse("{{ currentDate }}{{ with .Messages }}{{ end }}").render_chat(turns(("user", "hi")))


def test_a_template_without_an_argument_is_ollamas_error() -> None:
    with pytest.raises(TemplateError, match="undefined template specified"):
        parse('{{ define "x" }}y{{ end }}{{ if true }}{{ template "x" }}{{ end }}')
