"""Models by name: what the fleet serves, joined with the presets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from drover.errors import InvalidRequest, ModelNotFound, NoWorkerReady, StoreUnavailable
from drover.names import DEFAULT_TAG, ModelName
from frontend.models.model import CatalogModel, Route
from frontend.models.preset import Preset
from frontend.models.presets import Presets
from frontend.models.virtual_definition import SIDES, Side, VirtualModel, of_parameters
from frontend.models.virtual_model import virtual_model, with_preset
from frontend.routing.fleet import Able, Fleet, LoadedModel, generates
from frontend.routing.served_model import ServedModel


@dataclass(frozen=True, slots=True)
class Catalog:
    """`routers`: the operator's virtual models, by their names' keys."""

    fleet: Fleet
    presets: Presets
    routers: Mapping[str, VirtualModel] = field(default_factory=dict)

    async def find(self, name: ModelName, able: Able = generates) -> CatalogModel | None:
        """What the name stands for, as in `find_first`."""
        return await self.find_first([name], able)

    async def find_first(
        self, names: Sequence[ModelName], able: Able = generates, fresh: bool = False
    ) -> CatalogModel | None:
        """A served model or a preset, of the first of the names that has one. Only where none has, as far as
        this frontend knows, it waits for the database; with `fresh` also for a preset, which another
        frontend may just have changed. Raises NoWorkerReady while nothing is known of any worker.
        """
        found = self._find_here(names, able)
        if found is None or (fresh and found.preset is not None):
            await self._look()
            found = self._find_here(names, able)
        return found

    async def models(self) -> list[CatalogModel]:
        """All of them, newest first. With the database away: as they were when it left."""
        try:
            await self.presets.look()
        except StoreUnavailable:
            if not self.presets.has_looked:
                return self._lasting()
        served = self._lasting()
        taken = {model.name.key for model in served}
        made = [self._model(preset) for preset in self.presets.known() if preset.name.key not in taken]
        return sorted([*made, *served], key=lambda model: -model.modified_unix_ns)

    def check_free(self, name: ModelName, verb: str) -> None:
        """Raises InvalidRequest for a name that is not the presets' to change, NoWorkerReady while that
        cannot be known.
        """
        if name.key in self.routers or self._side_of_router(name) is not None:
            raise InvalidRequest(
                f"cannot {verb} '{name.short}': it is a virtual model of this server's configuration; choose "
                "another name for a model of your own"
            )
        if self.fleet.find(name) is not None:
            raise InvalidRequest(
                f"cannot {verb} '{name.short}': this server's workers serve a model under that name. It is "
                "there as long as they run; choose another name for a model of your own"
            )

    def check_route(self, preset: Preset) -> None:
        """Of one that makes a virtual model. Raises InvalidRequest where it names what this server does not
        have: other hosts' models come from the operator only.
        """
        definition = of_parameters(preset.name, preset.base, preset.parameters)
        if (definition is not None or preset.base.key in self.routers) and preset.template:
            raise InvalidRequest("a model that chooses between two has no template of its own")
        if definition is None:
            return
        for name in (definition.simple, definition.complex, definition.judge):
            if self._behind(name).served is None:
                raise InvalidRequest(f"route parameters: this server has no model '{name.short}' to answer")

    async def put(self, preset: Preset) -> None:
        """A name that is there in another letter case stays as it was first written."""
        self.check_free(preset.name, "overwrite")
        known = self.presets.find_known(preset.name.key)
        await self.presets.put(preset if known is None else replace(preset, name=known.name))

    async def delete(self, name: ModelName, as_sent: str) -> None:
        """A preset, also one that a served model of the same name has come to hide. Raises ModelNotFound in
        Ollama's words, InvalidRequest for a served one, StoreUnavailable.
        """
        if self.presets.find_known(name.key) is None:
            self.check_free(name, "delete")
        if not await self.presets.delete(name.key):
            raise ModelNotFound(f"model '{as_sent}' not found")

    def _find_here(self, names: Sequence[ModelName], able: Able) -> CatalogModel | None:
        return next((found for name in names if (found := self._known(name, able)) is not None), None)

    def loaded(self) -> list[LoadedModel]:
        """Under every name; a virtual model as long as the first of its sides' models."""
        served_ones = self.fleet.loaded()
        expiries = {each.model.name.key: each.expires_unix_ns for each in reversed(served_ones)}
        loaded = [each for each in served_ones if each.model.name.key not in self.routers]
        for virtual in self._virtual_models():
            route, served = virtual.route, virtual.served
            if route is None or served is None:
                continue
            times = [expiries[each.name.key] for each in route.served if each.name.key in expiries]
            if times:
                latest = 0 if 0 in times else max(times)
                loaded.append(LoadedModel(ServedModel(virtual.name, served.info), latest))
        return loaded

    def _known(self, name: ModelName, able: Able) -> CatalogModel | None:
        """A virtual model goes before a served one of its name, which can be one of its sides."""
        if (definition := self.routers.get(name.key)) is not None:
            virtual = self._virtual(definition)
            if able(virtual.capabilities) or self._of_fleet(name, able) is None:
                return virtual
        side_of_router = self._side_of_router(name)
        if side_of_router is not None and self._of_fleet(name, able) is None:
            return side_of_router
        return self._of_workers(name, able) or self._side_of_preset(name)

    def _of_workers(self, name: ModelName, able: Able) -> CatalogModel | None:
        preset = self.presets.find_known(name.key)
        try:
            served = self.fleet.find(name, able)
        except NoWorkerReady:
            if preset is None:
                raise
            served = None
        if served is not None:
            return CatalogModel(served.name, served)
        return None if preset is None else self._model(preset, able)

    def _side_of_router(self, name: ModelName) -> CatalogModel | None:
        """`auto:local` is the operator's virtual model `auto`, and asks for a side. No preset can hide it."""
        if not self.routers or (side := SIDES.get(name.tag.lower())) is None:
            return None
        definition = self.routers.get(replace(name, tag=DEFAULT_TAG).key)
        return None if definition is None else self._virtual(definition, forced=side)

    def _side_of_preset(self, name: ModelName) -> CatalogModel | None:
        if (side := SIDES.get(name.tag.lower())) is None:
            return None
        preset = self.presets.find_known(replace(name, tag=DEFAULT_TAG).key)
        definition = self._definition(preset) if preset else None
        return None if definition is None else self._virtual(definition, preset, side)

    def _virtual(
        self, definition: VirtualModel, preset: Preset | None = None, forced: Side | None = None
    ) -> CatalogModel:
        sides = {side: with_preset(self._behind(definition.model_of(side)), preset) for side in Side}
        return virtual_model(Route(definition, sides, self._behind(definition.judge), forced), preset)

    def _behind(self, name: ModelName) -> CatalogModel:
        """A served model or an ordinary preset, never another virtual model."""
        served = self._of_fleet(name, generates)
        preset = None if served is not None else self.presets.find_known(name.key)
        if preset is not None and self._definition(preset) is None:
            return CatalogModel(preset.name, self._of_fleet(preset.base, generates), preset)
        return CatalogModel(name if served is None else served.name, served)

    def _definition(self, preset: Preset) -> VirtualModel | None:
        """Its own, or that of the operator's virtual model that it is made from."""
        try:
            own = of_parameters(preset.name, preset.base, preset.parameters)
        except InvalidRequest:
            # Checked when it was made, perhaps by another version's rules.
            own = None
        base = self.routers.get(preset.base.key)
        return own if own is not None or base is None else replace(base, name=preset.name)

    def _virtual_models(self) -> list[CatalogModel]:
        own = [self._virtual(definition) for definition in self.routers.values()]
        made = ((preset, self._definition(preset)) for preset in self.presets.known())
        return own + [self._virtual(each, preset) for preset, each in made if each is not None]

    def _of_fleet(self, name: ModelName, able: Able) -> ServedModel | None:
        try:
            return self.fleet.find(name, able)
        except NoWorkerReady:
            return None

    async def _look(self) -> None:
        """Another frontend may just have made what is looked for. With the database away, what is known
        counts, if ever anything was.
        """
        try:
            await self.presets.look()
        except StoreUnavailable:
            if not self.presets.has_looked:
                raise

    def _lasting(self) -> list[CatalogModel]:
        """What is there without the database."""
        virtual = [self._virtual(definition) for definition in self.routers.values()]
        served = [CatalogModel(model.name, model) for model in self.fleet.served()]
        return virtual + [model for model in served if model.name.key not in self.routers]

    def _model(self, preset: Preset, able: Able = generates) -> CatalogModel:
        if (definition := self._definition(preset)) is not None:
            return self._virtual(definition, preset)
        return CatalogModel(preset.name, self._of_fleet(preset.base, able), preset)
