"""Learn the markup of tool calls by rendering calls with the chat template."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace

from drover.errors import InvalidRequest
from drover.v1 import engine_pb2 as pb
from engine_worker.schemas.call_grammar import Markup

Render = Callable[[Sequence[pb.Message], Sequence[pb.Tool]], Awaitable[str]]

# Texts that no template contains.
_ANSWER, _RESULT = "drover-answers", "drover-results"
_FUNCTION, _KEY, _VALUE = "drover-function", "drover-key", "drover-value"
_CALL = re.compile(
    rf'\{{\s*"name":\s*"{_FUNCTION}",\s*"(?:arguments|parameters)":\s*'
    rf'\{{\s*"{_KEY}":\s*"{_VALUE}"\s*\}}\s*\}}'
)
_TAG = re.compile(r"<([^<>/\s=]+)>\s*")


@dataclass(frozen=True, slots=True)
class CallMarkup(Markup):
    """The text around `{"name": …, "arguments": {…}}`: `tag` begins calls, and `closing` ends them.
    `is_own`: the template writes calls so; otherwise it is only where a grammar can put them.
    """

    is_own: bool = True

    @property
    def tag(self) -> str:
        return self.before.rstrip().removesuffix("[").rstrip()

    @property
    def closing(self) -> str:
        return self.after.strip().removeprefix("]").strip()


NO_TAG_FOR_FORMAT = (
    "tools and a format together need a chat template in which calls begin with a tag, and this model's has "
    "none; leave out the format or the tools"
)
# The markup of a grammar, for templates without a tag.
BARE_LIST = CallMarkup("[", ", ", "]")


async def learn_call_markup(render: Render) -> CallMarkup | None:
    """Render one call and two. None if calls do not begin with a tag, or `render` raises InvalidRequest."""
    try:
        one = await render(conversation(1), [probe_tool()])
    except InvalidRequest:
        return None
    try:
        two = await render(conversation(2), [probe_tool()])
    except InvalidRequest:
        # Some templates accept only one call at a time.
        two = ""
    return call_markup_of(one, two)


def call_markup_of(one_call: str, two_calls: str) -> CallMarkup | None:
    """The markup in prompts with one call and with two (empty if the template refuses two)."""
    one, two = _between_answers(one_call), _between_answers(two_calls)
    first = _CALL.search(one)
    if first is None:
        found = _in_tag(one)
        return None if found is None else replace(found, is_own=False)
    before = one[: first.start()].lstrip()
    if not before.strip("[ \n"):
        return None
    calls = list(_CALL.finditer(two))
    between = two[calls[0].end() : calls[1].start()] if len(calls) == 2 else ""
    if before.rstrip().endswith("["):
        return CallMarkup(before, between or ", ", "]")
    if between.endswith(before):
        return CallMarkup(before, between, between.removesuffix(before).rstrip())
    return _in_tag(one)


def _between_answers(text: str) -> str:
    return text.partition(_ANSWER)[2].partition(_RESULT)[0]


def _in_tag(rest: str) -> CallMarkup | None:
    """For a format that is not JSON, or has no closing tag: JSON within the tag that begins it."""
    found = _TAG.match(rest.partition(_FUNCTION)[0].lstrip())
    if found is None or f"</{found[1]}>" not in rest:
        return None
    opening, closing = f"<{found[1]}>\n", f"\n</{found[1]}>"
    return CallMarkup(opening, f"{closing}\n{opening}", closing)


def conversation(calls: int) -> Sequence[pb.Message]:
    arguments = f'{{"{_KEY}": "{_VALUE}"}}'
    # Mistral's templates want ids of nine characters.
    calls_made = [
        pb.ToolCall(id=f"call{number:05}", name=_FUNCTION, arguments_json=arguments)
        for number in range(calls)
    ]
    results = [
        pb.Message(role="tool", content=_RESULT, tool_name=_FUNCTION, tool_call_id=each.id)
        for each in calls_made
    ]
    return [
        pb.Message(role="user", content="drover-asks"),
        pb.Message(role="assistant", content=_ANSWER, tool_calls=calls_made),
        *results,
    ]


def probe_tool() -> pb.Tool:
    schema = f'{{"type": "object", "properties": {{"{_KEY}": {{"type": "string"}}}}}}'
    return pb.Tool(name="drover-tool", description="drover-description", parameters_json=schema)
