"""What makes a virtual model, in the operator's words and in a preset's."""

from __future__ import annotations

from pathlib import Path

import pytest

from drover.errors import InvalidRequest
from drover.names import ModelName
from frontend.models.virtual_definition import (
    Side,
    VirtualModel,
    of_parameters,
    requested_side,
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
        ' "images": "judge", "tools": "simple", "long": "judge", "long_characters": 10}}'
    )
    assert auto.model_of(Side.SIMPLE) == _name("a")
    assert auto.model_of(Side.COMPLEX) == _name("org/b:7b")
    assert (auto.default, auto.judge_timeout_seconds) == (Side.COMPLEX, 9.5)
    assert (auto.images, auto.tools, auto.long, auto.long_characters) == (None, Side.SIMPLE, None, 10)


def test_a_file_is_read(tmp_path: Path) -> None:
    (tmp_path / "routers.json").write_text('{"auto": {"simple": "a", "complex": "b"}}')
    settings = FrontendSettings.load(["--smart-routers", str(tmp_path / "routers.json")])
    assert list(settings.virtual_models) == [_name("auto").key]


@pytest.mark.parametrize(
    ("setting", "reason"),
    [
        ("/no/such/file.json", "cannot be read"),
        ('{"auto": {"simple": "a"}}', "auto.complex: Field required"),
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
    assert made == VirtualModel(
        _name("mine"), _name("base"), _name("big"), judge=_name("base"), default=Side.COMPLEX
    )
    assert of_parameters(_name("mine"), _name("base"), {"temperature": 0}) is None


@pytest.mark.parametrize(
    "parameters",
    [{"route_complex": 7}, {"route_complex": "b", "route_host": "x"}, {"route_complex": "http://a/b"}],
)
def test_a_presets_wrong_parameters_are_the_clients_fault(parameters: dict[str, str | int]) -> None:
    with pytest.raises(InvalidRequest, match="route parameters"):
        of_parameters(_name("mine"), _name("base"), parameters)


def test_a_requested_side() -> None:
    assert requested_side("") is requested_side(" Auto ") is None
    assert requested_side("local") is requested_side("SIMPLE") is Side.SIMPLE
    assert requested_side("remote") is requested_side("complex") is Side.COMPLEX
    with pytest.raises(InvalidRequest, match="'there' is none of simple, local, complex, remote, auto"):
        requested_side("there")
