"""The files that clients name as an adapter."""

from __future__ import annotations

import pytest

from drover.errors import InvalidRequest
from frontend.models.adapter import named_files

_ONE, _TWO = f"sha256:{'1' * 64}", f"sha256:{'2' * 64}"
_PEFT = {"adapter_config.json": _ONE, "adapter_model.safetensors": _TWO}


@pytest.mark.parametrize(
    ("sent", "named"),
    [
        ({"my-lora.gguf": _ONE}, {"adapter.gguf": _ONE}),
        ({"folder/My.GGUF": f"sha256-{'A' * 64}"}, {"adapter.gguf": f"sha256:{'a' * 64}"}),
        (_PEFT, _PEFT),
        ({**{f"out/{name}": digest for name, digest in _PEFT.items()}, "README.md": _ONE}, _PEFT),
        ({**_PEFT, "tokenizer.json": _ONE, "chat_template.jinja": _ONE}, _PEFT),
    ],
)
def test_the_files_of_an_adapter_get_the_workers_names(sent: dict[str, str], named: dict[str, str]) -> None:
    assert named_files(sent) == named


@pytest.mark.parametrize(
    ("sent", "reason"),
    [
        ({"a.gguf": _ONE, "b.gguf": _TWO}, "only one adapter is currently supported"),
        ({"a.gguf": _ONE, **_PEFT}, "only one adapter is currently supported"),
        ({"a/adapter_config.json": _ONE, "b/adapter_config.json": _TWO}, "only one adapter"),
        ({"adapter_config.json": _ONE}, "there is no adapter_model.safetensors"),
        ({"adapter_model.safetensors": _ONE}, "there is no adapter_config.json"),
        ({"adapter_config.json": _ONE, "adapter_model.bin": _TWO}, "pickled weights, which are code"),
        ({"lora.pt": _ONE}, "pickled weights"),
        ({"model.onnx": _ONE}, "model.onnx is no file of an adapter"),
        ({"tokenizer.json": _ONE}, "there is no adapter_config.json and no adapter_model.safetensors"),
    ],
)
def test_what_is_no_adapter_is_refused(sent: dict[str, str], reason: str) -> None:
    with pytest.raises(InvalidRequest, match=reason):
        named_files(sent)
