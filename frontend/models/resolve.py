"""Which model a name stands for: six resolvers, asked in order of precedence."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from drover.errors import InvalidRequest, NoWorkerReady
from drover.names import DEFAULT_TAG, ModelName
from frontend.models.model import CatalogModel, VirtualTargets
from frontend.models.named_adapters import named_models
from frontend.models.preset import Preset
from frontend.models.presets import Presets
from frontend.models.virtual_definition import VirtualModel, of_parameters
from frontend.models.virtual_model import virtual_model, with_preset
from frontend.routing.fleet import CapabilityCheck, Fleet, can_generate
from frontend.routing.served_model import ServedModel


@dataclass(frozen=True, slots=True)
class ModelResolver:
    """`routers`: the operator's virtual models, by the keys of their names. It uses what this frontend has in
    memory, so it never waits.
    """

    fleet: Fleet
    presets: Presets
    routers: Mapping[str, VirtualModel]

    def resolve(self, name: ModelName, capable: CapabilityCheck) -> CatalogModel | None:
        """The first match, in this order.

        1. a virtual model of the operator, `auto`
        2. one of its sides, `auto:simple`
        3. a model that workers serve
        4. an adapter of the operator's, `pirate`
        5. a preset, `pirate`
        6. a side of a preset that is a virtual model, `pirate:simple`

        `capable`: what the model must be able to do; it chooses between models of the same name, and a match
        may still be unable. Raises NoWorkerReady while no worker has reported and no preset has the name.
        """
        for resolver in (
            self._router,
            self._router_side,
            self._served_model,
            self.named_adapter,
            self._preset,
            self._preset_side,
        ):
            if (model := resolver(name, capable)) is not None:
                return model
        return None

    def router_side(self, name: ModelName) -> CatalogModel | None:
        """`auto:local` is the operator's virtual model `auto` with the side fixed."""
        definition = self.routers.get(replace(name, tag=DEFAULT_TAG).key)
        if definition is None or (label := definition.label_of(name.tag)) is None:
            return None
        return self._virtual_model(definition, forced=label)

    def named_adapter(self, name: ModelName, capable: CapabilityCheck = can_generate) -> CatalogModel | None:
        return next((model for model in named_models(self.fleet) if model.name.key == name.key), None)

    def router_models(self) -> list[CatalogModel]:
        return [self._virtual_model(definition) for definition in self.routers.values()]

    def virtual_models(self) -> list[CatalogModel]:
        """The operator's, then the presets'."""
        made = ((preset, self._definition_of(preset)) for preset in self.presets.all())
        from_presets = [self._virtual_model(each, preset) for preset, each in made if each is not None]
        return self.router_models() + from_presets

    def preset_model(self, preset: Preset, capable: CapabilityCheck = can_generate) -> CatalogModel:
        if (definition := self._definition_of(preset)) is not None:
            return self._virtual_model(definition, preset)
        return CatalogModel(preset.name, self._find_served(preset.base, capable), preset)

    def target(self, name: ModelName) -> CatalogModel:
        """What a side or a judge names: a served model, an adapter of the operator's or an ordinary preset,
        never a virtual model. Without `served` where it is none of these.
        """
        if (served := self._find_served(name, can_generate)) is not None:
            return CatalogModel(served.name, served)
        if (named := self.named_adapter(name)) is not None:
            return named
        preset = self.presets.get(name.key)
        if preset is not None and self._definition_of(preset) is None:
            return CatalogModel(preset.name, self._find_served(preset.base, can_generate), preset)
        return CatalogModel(name, None)

    def _router(self, name: ModelName, capable: CapabilityCheck) -> CatalogModel | None:
        """It hides a served model of its name, which can be one of its sides, unless it is not able."""
        if (definition := self.routers.get(name.key)) is None:
            return None
        model = self._virtual_model(definition)
        return model if capable(model.capabilities) or not self._find_served(name, capable) else None

    def _router_side(self, name: ModelName, capable: CapabilityCheck) -> CatalogModel | None:
        """A served model of that full name hides it; a preset does not."""
        model = self.router_side(name)
        return model if model is not None and not self._find_served(name, capable) else None

    def _served_model(self, name: ModelName, capable: CapabilityCheck) -> CatalogModel | None:
        try:
            served = self.fleet.find(name, capable)
        except NoWorkerReady:
            if self.presets.get(name.key) is None:
                raise
            return None
        return None if served is None else CatalogModel(served.name, served)

    def _preset(self, name: ModelName, capable: CapabilityCheck) -> CatalogModel | None:
        preset = self.presets.get(name.key)
        return None if preset is None else self.preset_model(preset, capable)

    def _preset_side(self, name: ModelName, capable: CapabilityCheck) -> CatalogModel | None:
        preset = self.presets.get(replace(name, tag=DEFAULT_TAG).key)
        definition = self._definition_of(preset) if preset else None
        if definition is None or (label := definition.label_of(name.tag)) is None:
            return None
        return self._virtual_model(definition, preset, label)

    def _virtual_model(
        self, definition: VirtualModel, preset: Preset | None = None, forced: str | None = None
    ) -> CatalogModel:
        sides = {side.label: with_preset(self.target(side.model), preset) for side in definition.sides}
        return virtual_model(VirtualTargets(definition, sides, self.target(definition.judge), forced), preset)

    def _definition_of(self, preset: Preset) -> VirtualModel | None:
        """The preset's own definition, or that of the operator's virtual model that it is made from."""
        try:
            own = of_parameters(preset.name, preset.base, preset.parameters)
        except InvalidRequest:
            # Checked when it was made, perhaps by another version's rules.
            own = None
        base = self.routers.get(preset.base.key)
        return own if own is not None or base is None else replace(base, name=preset.name)

    def _find_served(self, name: ModelName, capable: CapabilityCheck) -> ServedModel | None:
        """Like Fleet.find, with None while no worker has reported."""
        try:
            return self.fleet.find(name, capable)
        except NoWorkerReady:
            return None
