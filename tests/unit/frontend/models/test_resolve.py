"""The order in which a name is resolved."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import cast

import pytest

from drover.errors import NoWorkerReady
from drover.names import ModelName
from drover.v1 import engine_pb2 as pb
from frontend.models.preset import Preset
from frontend.models.presets import Presets
from frontend.models.resolve import ModelResolver
from frontend.models.virtual_definition import COMPLEX, SIMPLE, virtual_models
from frontend.routing.fleet import CapabilityCheck, Fleet, can_embed, can_generate
from frontend.routing.served_model import ServedModel
from tests.unit.frontend.models.preset_factory import name, preset

(_ROUTER,) = virtual_models('{"auto": {"simple": "small", "complex": "big"}}').values()


@dataclass
class _Served:
    """The fleet's models by name; `has_reported`: whether any worker has."""

    names: Mapping[str, pb.Capabilities]
    has_reported: bool = True
    # Names of the operator's adapters of `small`.
    adapters: tuple[str, ...] = ()

    def find(self, wanted: ModelName, capable: CapabilityCheck) -> ServedModel | None:
        if not self.has_reported:
            raise NoWorkerReady("no worker has reported")
        can = self.names.get(wanted.short)
        return None if can is None else ServedModel(wanted, pb.Model(capabilities=can))

    def named_adapters(self) -> Iterator[tuple[ServedModel, pb.NamedAdapter]]:
        header = pb.AdapterHeader(files=[pb.AdapterFile(name="adapter.gguf", sha256="1" * 64)])
        for each in self.adapters:
            yield ServedModel(name("small"), pb.Model()), pb.NamedAdapter(name=each, adapter=header)


@dataclass
class _Made:
    presets: list[Preset] = field(default_factory=list)

    def all(self) -> list[Preset]:
        return self.presets

    def get(self, key: str) -> Preset | None:
        return next((each for each in self.presets if each.name.key == key), None)


def _resolver(
    *served: str, presets: tuple[Preset, ...] = (), has_reported: bool = True, embedding: tuple[str, ...] = ()
) -> ModelResolver:
    names = {each: pb.Capabilities(completion=True) for each in ("small:latest", "big:latest", *served)}
    names |= {each: pb.Capabilities(embedding=True) for each in embedding}
    return ModelResolver(
        cast("Fleet", _Served(names, has_reported)),
        cast("Presets", _Made(list(presets))),
        {_ROUTER.name.key: _ROUTER},
    )


def test_an_operators_virtual_model_hides_a_served_model_and_a_preset() -> None:
    found = _resolver("auto:latest", presets=(preset("auto"),)).resolve(name("auto"), can_generate)
    assert found is not None
    assert found.virtual is not None
    assert found.preset is None


def test_a_served_model_that_is_able_goes_before_a_virtual_model_that_is_not() -> None:
    found = _resolver(embedding=("auto:latest",)).resolve(name("auto"), can_embed)
    assert found is not None
    assert found.virtual is None


@pytest.mark.parametrize(("tag", "side"), [("simple", SIMPLE), ("remote", COMPLEX)])
def test_a_side_of_an_operators_virtual_model_hides_a_preset(tag: str, side: str) -> None:
    found = _resolver(presets=(preset(f"auto:{tag}"),)).resolve(name(f"auto:{tag}"), can_generate)
    assert found is not None
    assert found.virtual is not None
    assert found.virtual.forced == side


def test_a_served_model_hides_a_side_and_a_preset() -> None:
    resolver = _resolver("auto:simple", "pirate:latest", presets=(preset("pirate"),))
    for wanted in ("auto:simple", "pirate"):
        found = resolver.resolve(name(wanted), can_generate)
        assert found is not None
        assert (found.virtual, found.preset) == (None, None)


def test_an_operators_adapter_hides_a_preset() -> None:
    served = _Served({"small:latest": pb.Capabilities(completion=True)}, adapters=("pirate", "", "small"))
    made = _Made([preset("pirate")])
    resolver = ModelResolver(cast("Fleet", served), cast("Presets", made), {})
    found = resolver.resolve(name("pirate"), can_generate)
    assert found is not None
    assert found.parent == "small:latest"
    assert found.adapter
    assert resolver.target(name("pirate")).adapter == found.adapter
    base = resolver.resolve(name("small"), can_generate)
    assert base is not None
    assert base.adapter == ""


def test_a_preset_hides_a_side_of_another_preset() -> None:
    virtual = replace(preset("pair", base="small"), parameters={"route_complex": "big"})
    side = _resolver(presets=(virtual,)).resolve(name("pair:complex"), can_generate)
    assert side is not None
    assert side.virtual is not None
    assert side.virtual.forced == COMPLEX
    own = _resolver(presets=(virtual, preset("pair:complex"))).resolve(name("pair:complex"), can_generate)
    assert own is not None
    assert own.virtual is None


def test_a_preset_is_known_before_any_worker_has_reported() -> None:
    resolver = _resolver(presets=(preset("pirate"),), has_reported=False)
    found = resolver.resolve(name("pirate"), can_generate)
    assert found is not None
    assert found.served is None
    with pytest.raises(NoWorkerReady):
        resolver.resolve(name("other"), can_generate)


def test_a_name_of_nothing_is_nothing() -> None:
    assert _resolver().resolve(name("other"), can_generate) is None
