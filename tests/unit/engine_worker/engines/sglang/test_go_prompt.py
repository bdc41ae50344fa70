"""Where thinking is looked for behind a Go template, which a first and a resumed attempt have in common."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

import pytest

from drover.v1 import engine_pb2 as pb
from engine_worker.engines.sglang.prompt import Limits, Prompts

if TYPE_CHECKING:
    from engine_worker.engines.sglang.upstream.templates import Templates
    from engine_worker.engines.sglang.upstream.vocabulary import Vocabulary

_THINKS = "{{ range .Messages }}{{ .Thinking }}{{ .Content }}{{ end }}"
_PLAIN = "{{ range .Messages }}{{ .Content }}{{ end }}"


@dataclass(frozen=True)
class Rendered:
    ids: Sequence[int]
    thinks: bool = True
    opens_thinking: bool = False


class FakeTemplates:
    """Of a model that thinks."""

    def render(self, messages: Sequence[pb.Message], turn: object, prompt_ids: Sequence[int]) -> Rendered:
        return Rendered(prompt_ids)


class FakeVocabulary:
    size = 1 << 20

    def encode(self, text: str, add_special: bool) -> list[int]:
        return [ord(each) for each in text]


def _request(template: str, last_role: str, mode: pb.Think.Mode.ValueType) -> pb.GenerateRequest:
    request = pb.GenerateRequest(template=template, think=pb.Think(mode=mode))
    request.chat.messages.add(role="user", content="hi")
    if last_role == "assistant":
        request.chat.messages.add(role="assistant", content="Well")
        request.chat.continue_last = True
    return request


@pytest.mark.parametrize(
    ("template", "last_role", "mode", "thinks"),
    [
        (_THINKS, "user", pb.Think.UNSET, True),
        (_THINKS, "user", pb.Think.ON, True),
        (_THINKS, "assistant", pb.Think.ON, False),
        (_PLAIN, "user", pb.Think.UNSET, False),
        (_PLAIN, "user", pb.Think.ON, True),
    ],
)
async def test_thinking_is_looked_for(
    template: str, last_role: str, mode: pb.Think.Mode.ValueType, thinks: bool
) -> None:
    prompts = Prompts(
        cast("Templates", FakeTemplates()),
        cast("Vocabulary", FakeVocabulary()),
        Limits(context_length=100, longest_prompt=99),
        lambda **_: None,  # type: ignore[arg-type]  # never called here
    )
    request = _request(template, last_role, mode)
    first = await prompts.prepare(request)
    request.continuation.prompt_ids.extend(first.fitted.ids)
    second = await prompts.prepare(request)
    prompts.close()

    assert first.rendered.thinks is second.rendered.thinks is thinks
    assert list(second.fitted.ids) == list(first.fitted.ids)
