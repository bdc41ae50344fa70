"""What makes a virtual model, in the operator's words and in a preset's."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from drover.errors import InvalidRequest
from drover.json_value import Json
from drover.names import ModelName
from frontend.models.virtual_definition import (
    COMPLEX,
    SIMPLE,
    VirtualModel,
    of_parameters,
    virtual_models,
)
from frontend.settings import FrontendSettings


def _name(text: str) -> ModelName:
    name = ModelName.parse(text)
    assert name is not None
    return name


def _only(setting: str) -> VirtualModel:
    (model,) = virtual_models(setting).values()
    return model


def test_the_simple_side_judges_unless_another_model_is_named() -> None:
    assert _only('{"auto": {"simple": "a", "complex": "b"}}').judge == _name("a")
    assert _only('{"auto": {"simple": "a", "complex": "b", "judge": "c:1b"}}').judge == _name("c:1b")


def test_every_field_is_read() -> None:
    auto = _only(
        '{"auto": {"simple": "a", "complex": "org/b:7b", "default": "complex", "judge_timeout_seconds": 9.5,'
        ' "images": "judge", "tools": "simple", "long": "judge", "long_characters": 10,'
        ' "threshold": 0.8, "min_label_mass": 0.2}}'
    )
    assert [side.model for side in auto.sides] == [_name("a"), _name("org/b:7b")]
    assert (auto.default, auto.judge_timeout_seconds) == (COMPLEX, 9.5)
    assert (auto.images, auto.tools, auto.long, auto.long_characters) == (None, SIMPLE, None, 10)
    assert (auto.threshold, auto.min_label_mass) == (0.8, 0.2)


def _by_kind(**fields: object) -> str:
    models = {
        "code": {"model": "coder", "description": "program code"},
        "chat": {"model": "small", "description": "small talk"},
        "law": {"model": "org/lawyer:70b", "description": "questions about the law"},
    }
    return json.dumps({"auto": {"models": models, **fields}})


def test_it_can_choose_between_any_number_of_models() -> None:
    auto = _only(_by_kind())
    assert auto.labels == ("code", "chat", "law")
    assert auto.sides[2].model == _name("org/lawyer:70b")
    assert auto.descriptions(["law", "code"]) == {"code": "program code", "law": "questions about the law"}
    assert (auto.judge, auto.default) == (_name("coder"), "code")
    assert (auto.images, auto.tools, auto.long) == (None, None, None), "which side is the judge's to say"
    assert _only(_by_kind(default="law", tools="code")).tools == "code"
    assert auto.requested("LAW") == "law"
    assert auto.label_of("local") is None
    with pytest.raises(InvalidRequest, match="'local' is none of code, chat, law, auto"):
        auto.requested("local")


def test_a_file_is_read(tmp_path: Path) -> None:
    (tmp_path / "routers.json").write_text('{"auto": {"simple": "a", "complex": "b"}}')
    settings = FrontendSettings.load(["--smart-routers", str(tmp_path / "routers.json")])
    assert list(settings.virtual_models) == [_name("auto").key]


@pytest.mark.parametrize(
    ("setting", "reason"),
    [
        ("/no/such/file.json", "cannot be read"),
        ('{"auto": {"simple": "a"}}', "auto: complex: a model is required"),
        ('{"auto": {"simple": "a", "complex": "b", "threshold": 1}}', "auto.threshold"),
        (_by_kind(simple="a"), "models: cannot be combined"),
        (_by_kind(models={}), "simple: a model is required"),
        (_by_kind(models={"one": {"model": "a", "description": "all"}}), "2 to 26 are allowed, not 1"),
        (
            _by_kind(
                models={"Up": {"model": "a", "description": "b"}, "x": {"model": "a", "description": "b"}}
            ),
            "'Up' is no label",
        ),
        (_by_kind(models={"x": {"model": "a"}}), "auto.models.x.description: Field required"),
        (_by_kind(default="both"), "default: 'both' is none of code, chat, law"),
        (_by_kind(long="complex"), "long: 'complex' is none of code, chat, law, judge"),
        ('{"auto": {"simple": "a", "complex": "b", "jugde": "c"}}', "jugde: Extra inputs"),
        ('{"auto": {"simple": "a", "complex": "b", "default": "both"}}', "default"),
        ('{"auto": {"simple": "a", "complex": "b", "judge_timeout_seconds": 0}}', "judge_timeout_seconds"),
        ('{"auto": {"simple": "a", "complex": "http://gpu:11434/b"}}', "added to the workers"),
        ('{"not a name": {"simple": "a", "complex": "b"}}', "not a model name"),
        ("{", "JSON"),
    ],
)
def test_an_invalid_definition_is_refused_with_the_reason(setting: str, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        virtual_models(setting)


def test_a_frontend_does_not_start_with_a_wrong_one(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        FrontendSettings.load(["--smart-routers", '{"auto": {}}'])
    assert "smart" in capsys.readouterr().err


def test_a_presets_parameters_make_one_over_its_base() -> None:
    made = of_parameters(
        _name("mine"), _name("base"), {"route_complex": "big", "route_default": "complex", "temperature": 0}
    )
    assert made is not None
    assert [side.model for side in made.sides] == [_name("base"), _name("big")]
    assert (made.name, made.judge, made.default) == (_name("mine"), _name("base"), COMPLEX)
    assert of_parameters(_name("mine"), _name("base"), {"temperature": 0}) is None


@pytest.mark.parametrize(
    "parameters",
    [
        {"route_complex": 7},
        {"route_complex": "b", "route_models": {"x": {"model": "a", "description": "b"}}},
        {"route_complex": "b", "route_host": "x"},
        {"route_complex": "http://a/b"},
    ],
)
def test_a_presets_wrong_parameters_are_the_clients_fault(parameters: dict[str, Json]) -> None:
    with pytest.raises(InvalidRequest, match="route parameters"):
        of_parameters(_name("mine"), _name("base"), parameters)


def test_a_requested_side() -> None:
    auto = _only('{"auto": {"simple": "a", "complex": "b"}}')
    assert auto.requested("") is auto.requested(" Auto ") is None
    assert auto.requested("local") == auto.requested("SIMPLE") == SIMPLE
    assert auto.requested("remote") == auto.requested("complex") == COMPLEX
    with pytest.raises(InvalidRequest, match="'there' is none of simple, complex, local, remote, auto"):
        auto.requested("there")
