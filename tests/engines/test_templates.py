"""A request's own template, in every engine: the same prompt, the same truncation, the same refusals."""

from __future__ import annotations

import pytest

from drover.errors import CapabilityMissing, InvalidRequest, TemplateFailed
from drover.v1 import engine_pb2 as pb
from tests.support.answers import error_of
from tests.support.chat_requests import chat
from tests.support.engine_client import EngineClient

pytestmark = pytest.mark.real_model

_EACH = "{{ range .Messages }}[{{ .Role }}: {{ .Content }}]{{ end }}>"


async def _rendered(engine: EngineClient, request: pb.GenerateRequest) -> pb.RenderResponse:
    return await engine.stub.Render(pb.RenderRequest(request=request))


async def test_go_templates_are_a_capability(model: pb.Model) -> None:
    assert model.capabilities.go_template
    assert model.capabilities.go_template_parsed
    # llama.cpp's answers to such prompts are parsed by us, whatever the model's own template has.
    assert model.capabilities.go_template_adds == (model.engine_kind == "llamacpp")


async def test_a_requests_template_renders_a_chat(engine: EngineClient) -> None:
    request = chat("What is it?")
    request.chat.messages.insert(0, pb.Message(role="system", content="Be brief."))
    request.template = _EACH

    rendered = await _rendered(engine, request)

    assert rendered.text == "[system: Be brief.][user: What is it?]>"
    text, done = await engine.text(request)
    assert text
    assert done.prompt_tokens == len(rendered.ids)


async def test_a_requests_template_renders_a_prompt_after_its_context(engine: EngineClient) -> None:
    template = "{{ .System }}/{{ .Prompt }}!{{ .Response }}end"
    prompt = pb.PromptInput(text="Hello", system="S")
    alone = await _rendered(engine, pb.GenerateRequest(prompt=prompt, template=template))
    prompt.context.extend(alone.ids)
    behind = await _rendered(engine, pb.GenerateRequest(prompt=prompt, template=template))

    assert alone.text == "S/Hello!"
    assert behind.text == "S/Hello!" * 2


async def test_a_gap_is_filled_in_by_a_template_that_knows_how(engine: EngineClient) -> None:
    prompt = pb.PromptInput(text="before", suffix="after")
    request = pb.GenerateRequest(prompt=prompt, template="{{ .Prompt }}_{{ .Suffix }}")
    unable = pb.GenerateRequest(prompt=prompt, template="{{ .Prompt }}")

    assert (await _rendered(engine, request)).text == "before_after"
    assert isinstance(await error_of(engine, unable), CapabilityMissing)


async def test_the_oldest_messages_give_way(engine: EngineClient) -> None:
    request = pb.GenerateRequest(template=_EACH)
    request.chat.messages.add(role="system", content="S")
    for number in range(40):
        role = "user" if number % 2 == 0 else "assistant"
        request.chat.messages.add(role=role, content=f"number {number} " + "word " * 20)
    request.context.num_ctx = 128

    rendered = await _rendered(engine, request)

    assert rendered.truncated_tokens > 0
    assert len(rendered.ids) < 128
    assert rendered.text.startswith("[system: S]")
    assert "number 39" in rendered.text
    assert "number 0 " not in rendered.text


@pytest.mark.parametrize(
    ("change", "error_type"),
    [
        (pb.GenerateRequest(template="{{ .X"), InvalidRequest),
        (pb.GenerateRequest(template="{{ index .Messages 99 }}"), TemplateFailed),
        (pb.GenerateRequest(template="{{/* nothing */}}{{ if .Response }}x{{ end }}"), InvalidRequest),
        (pb.GenerateRequest(template=_EACH, raw="raw"), InvalidRequest),
    ],
    ids=["unreadable", "fails", "empty", "raw"],
)
async def test_unusable_templates_are_refused(
    engine: EngineClient, change: pb.GenerateRequest, error_type: type
) -> None:
    request = chat("Hello")
    request.MergeFrom(change)

    assert isinstance(await error_of(engine, request), error_type)


async def test_images_and_templates_do_not_go_together(engine: EngineClient) -> None:
    request = chat("What is this?")
    request.chat.messages[0].images.add(data=b"?")
    request.template = _EACH

    assert isinstance(await error_of(engine, request), CapabilityMissing)
