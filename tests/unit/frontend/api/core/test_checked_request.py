"""CheckedRequest: the one check of a request against a model, in upstream's order of errors."""

from __future__ import annotations

from dataclasses import replace

import pytest

from drover.errors import CapabilityMissing, InvalidOption
from drover.names import ModelName
from drover.v1 import engine_pb2 as pb
from frontend.api.core.conversion import CheckedRequest
from frontend.api.core.request import ChatRequest, Message, Tool
from frontend.api.core.thinking import Think
from frontend.models.model import CatalogModel
from frontend.routing.served_model import ServedModel

_CHAT = ChatRequest(model="m", messages=[Message(role="user", content="x")])
_IMAGE_RESULT = Message(role="tool", content="seen", images=[b"png"])


def _model(**capabilities: bool) -> CatalogModel:
    name = ModelName.parse("m")
    assert name is not None
    can = pb.Capabilities(completion=True, **capabilities)
    return CatalogModel(
        name, ServedModel(name, pb.Model(names=["m:latest"], context_length=100, capabilities=can))
    )


def test_a_missing_capability_comes_before_an_invalid_option() -> None:
    request = replace(_CHAT, tools=[Tool("f", "", "{}")], options={"temperature": "hot"})

    with pytest.raises(CapabilityMissing, match="does not support tools"):
        CheckedRequest.of(request, _model())
    with pytest.raises(InvalidOption, match="temperature"):
        CheckedRequest.of(request, _model(tools=True))


def test_thinking_is_dropped_only_where_it_is_optional() -> None:
    request = replace(_CHAT, think=Think(enabled=True))

    with pytest.raises(CapabilityMissing, match="does not support thinking"):
        CheckedRequest.of(request, _model())
    checked = CheckedRequest.of(replace(request, think_optional=True), _model())
    assert checked.to_proto(0).think.mode == pb.Think.UNSET


def test_optional_thinking_is_kept_where_the_model_thinks() -> None:
    request = replace(_CHAT, think=Think(enabled=True, level="high"), think_optional=True)

    assert CheckedRequest.of(request, _model(thinking=True)).to_proto(0).think.level == "high"


def test_unseen_images_are_left_out_only_where_the_dialect_allows_it() -> None:
    request = replace(_CHAT, messages=[*_CHAT.messages, _IMAGE_RESULT])

    with pytest.raises(CapabilityMissing):
        CheckedRequest.of(request, _model()).to_proto(0)
    checked = CheckedRequest.of(replace(request, skip_unseen_images=True), _model())
    assert checked.not_honoured == ["tool_result.images"]
    assert not checked.to_proto(0).chat.messages[-1].images


def test_a_larger_context_than_the_models_is_not_honoured() -> None:
    checked = CheckedRequest.of(replace(_CHAT, options={"num_ctx": 101}), _model())

    assert checked.not_honoured == ["num_ctx"]
