"""A Modelfile, read by the rules of Ollama's parser, gives what it was written from."""

from __future__ import annotations

import pytest

from drover.names import ModelName
from drover.v1 import engine_pb2 as pb
from frontend.api.ollama.modelfile import modelfile, parameters_of
from frontend.models.model import CatalogModel
from frontend.models.preset import Example, Preset
from frontend.routing.served_model import ServedModel
from tests.support.modelfile import commands

_TEXTS = [
    "plain",
    "{% for m in messages %}\n{{ m['content'] }}\n{% endfor %}",
    '{%- if tools %}{{ "<tools>" }}{% endif %}',
    '"quoted"',
    '"""three"""',
    'says "\n"""',
    " leading and trailing ",
    "\n\nline ends\n",
    'ends with a quote"',
    "tab\tand \\n backslash",
]


def _model(template: str, system: str, licence: str, stop: str) -> CatalogModel:
    name = ModelName.parse("made")
    base = ModelName.parse("Org/Base:V1")
    assert name is not None
    assert base is not None
    served = ServedModel(base, pb.Model(names=[base.short], template=template))
    preset = Preset(
        name=name,
        base=base,
        base_digest="0" * 64,
        base_size_bytes=1,
        modified_unix_ns=1,
        system=system,
        licenses=[licence, ""],
        parameters={"stop": [stop], "temperature": 0.5},
        examples=[Example("user", system)],
        requires="0.14.0",
    )
    return CatalogModel(name, served, preset)


@pytest.mark.parametrize("text", _TEXTS)
def test_each_command_is_read_back(text: str) -> None:
    model = _model(text, text, text, text)

    read = commands(modelfile(model, model.system, parameters_of(model)))

    assert read == [
        ("from", "Org/Base:V1"),
        ("template", text),
        ("system", text),
        ("stop", text),
        ("temperature", "0.5"),
        ("requires", "0.14.0"),
        ("license", text),
        ("license", ""),
        ("message", f"user: {text}"),
    ]


def test_a_template_that_cannot_be_quoted_is_left_out() -> None:
    model = _model('{# """ #}\n{{ """\nx }}', "s", "l", "s")

    read = commands(modelfile(model, model.system, parameters_of(model)))

    assert [name for name, _ in read][:2] == ["from", "system"]
