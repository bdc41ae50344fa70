"""How templates of each kind write calls."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest

from drover.errors import InvalidRequest
from drover.v1 import engine_pb2 as pb
from engine_worker.output.call_markup import CallMarkup, learn_call_markup

Write = Callable[[Sequence[pb.ToolCall]], str]


def _hermes(calls: Sequence[pb.ToolCall]) -> str:
    return "".join(
        f'\n<tool_call>\n{{"name": "{call.name}", "arguments": {call.arguments_json}}}\n</tool_call>'
        for call in calls
    )


def _granite(calls: Sequence[pb.ToolCall]) -> str:
    listed = ", ".join(f'{{"name": "{call.name}", "arguments": {call.arguments_json}}}' for call in calls)
    return f"<|tool_call|>[{listed}]"


def _qwen_coder(calls: Sequence[pb.ToolCall]) -> str:
    return "".join(
        f"\n<tool_call>\n<function={call.name}>\n<parameter=drover-key>\ndrover-value\n</parameter>\n</function>"
        "\n</tool_call>"
        for call in calls
    )


def _llama(calls: Sequence[pb.ToolCall]) -> str:
    if len(calls) > 1:
        raise InvalidRequest("one call at a time")
    return f'{{"name": "{calls[0].name}", "parameters": {calls[0].arguments_json}}}'


def _one_in_tags(calls: Sequence[pb.ToolCall]) -> str:
    if len(calls) > 1:
        raise InvalidRequest("one call at a time")
    return _hermes(calls)


def _mistral(calls: Sequence[pb.ToolCall]) -> str:
    return "".join(f"[TOOL_CALLS]{call.name}[ARGS]{call.arguments_json}" for call in calls)


@pytest.mark.parametrize(
    ("write", "markup"),
    [
        (_hermes, ("<tool_call>\n", "\n</tool_call>\n<tool_call>\n", "\n</tool_call>")),
        (_one_in_tags, ("<tool_call>\n", "\n</tool_call>\n<tool_call>\n", "\n</tool_call>")),
        (_qwen_coder, ("<tool_call>\n", "\n</tool_call>\n<tool_call>\n", "\n</tool_call>", False)),
        (_granite, ("<|tool_call|>[", ", ", "]")),
        (_llama, None),
        (_mistral, None),
    ],
)
async def test_markup_around_calls_is_learned_from_a_template(
    write: Write, markup: tuple[str, str, str] | tuple[str, str, str, bool] | None
) -> None:
    async def render(messages: Sequence[pb.Message], tools: Sequence[pb.Tool]) -> str:
        (tool,) = tools
        parts = [f"<|{each.role}|>{each.content}{write(each.tool_calls) if each.tool_calls else ''}"
                 for each in messages]  # fmt: skip
        return f"{tool.name}{''.join(parts)}"

    learned = await learn_call_markup(render)

    assert learned == (CallMarkup(*markup) if markup else None)


def test_the_tags_of_the_markup() -> None:
    tagged = CallMarkup("<tool_call>\n", "\n</tool_call>\n<tool_call>\n", "\n</tool_call>")
    listed = CallMarkup("<|tool_call|>[", ", ", "]")
    assert [(each.tag, each.closing) for each in (tagged, listed)] == [
        ("<tool_call>", "</tool_call>"),
        ("<|tool_call|>", ""),
    ]
