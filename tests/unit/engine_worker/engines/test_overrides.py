"""What an operator says of a model, over what its files say."""

from __future__ import annotations

from drover.go_template.template import parse
from drover.v1 import engine_pb2 as pb
from engine_worker.engines.overrides import ModelOverrides


def _model() -> pb.Model:
    return pb.Model(
        template="{{ jinja }}",
        defaults=pb.Sampling(temperature=1, top_k=9, stop=["a"]),
        capabilities=pb.Capabilities(completion=True, tools=True, thinking=True, vision=True),
    )


def test_without_words_a_model_keeps_its_own() -> None:
    model = _model()

    ModelOverrides().describe(model, can_parse=True)

    assert (model.template, model.system) == ("{{ jinja }}", "")
    assert model.defaults == pb.Sampling(temperature=1, top_k=9, stop=["a"])
    assert model.capabilities.go_template
    assert model.capabilities.go_template_parsed
    assert model.capabilities.vision


def test_parameters_are_over_the_model_s_own_and_stops_replace_them() -> None:
    model = _model()

    ModelOverrides(parameters=pb.Sampling(temperature=0, stop=["b"])).describe(model, can_parse=False)

    assert model.defaults == pb.Sampling(temperature=0, top_k=9, stop=["b"])
    assert not model.capabilities.go_template_parsed


def test_a_template_of_its_own_decides_what_the_model_can() -> None:
    able, unable, unparsed = _model(), _model(), _model()
    template = parse("{{ .Tools }}{{ range .Messages }}{{ .Thinking }}{{ end }}{{ .Suffix }}")

    ModelOverrides(system="S", go_template=template).describe(able, can_parse=True)
    ModelOverrides(go_template=parse("{{ .Prompt }}")).describe(unable, can_parse=True)
    ModelOverrides(go_template=template).describe(unparsed, can_parse=False)

    assert (able.template, able.system) == (template.source, "S")
    can = able.capabilities
    assert (can.tools, can.thinking, can.insert, can.vision) == (True, True, True, False)
    for model in (unable, unparsed):
        assert not model.capabilities.tools
        assert not model.capabilities.thinking


def test_an_embedding_model_has_no_templates() -> None:
    model = pb.Model(capabilities=pb.Capabilities(embedding=True))

    ModelOverrides(go_template=parse("{{ .Prompt }}")).describe(model, can_parse=True)

    assert model.capabilities == pb.Capabilities(embedding=True)
    assert not model.template


def test_a_template_brings_what_it_mentions_where_the_engine_finds_it() -> None:
    model = pb.Model(capabilities=pb.Capabilities(completion=True))
    template = parse("{{ .Tools }}{{ range .Messages }}{{ .Thinking }}{{ end }}")

    ModelOverrides(go_template=template).describe(model, can_parse=True, adds=True)

    assert (model.capabilities.tools, model.capabilities.thinking) == (True, True)
    assert model.capabilities.go_template_adds
