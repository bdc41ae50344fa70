"""All models of this server: what the fleet serves, the operator's virtual models and the presets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from drover.errors import InvalidRequest, ModelNotFound, NotPermitted, NoWorkerReady, StoreUnavailable
from drover.names import ModelName
from frontend.access.current_key import current_key
from frontend.models.model import CatalogModel
from frontend.models.named_adapters import named_models
from frontend.models.preset import Preset
from frontend.models.presets import Presets
from frontend.models.resolve import ModelResolver
from frontend.models.virtual_definition import VirtualModel, of_parameters
from frontend.models.visibility import is_visible
from frontend.routing.fleet import CapabilityCheck, Fleet, LoadedModel, can_generate, latest_expiry
from frontend.routing.served_model import ServedModel


@dataclass(frozen=True, slots=True)
class Catalog:
    """`routers`: the operator's virtual models, by the keys of their names."""

    fleet: Fleet
    presets: Presets
    routers: Mapping[str, VirtualModel] = field(default_factory=dict)
    _resolver: ModelResolver = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_resolver", ModelResolver(self.fleet, self.presets, self.routers))

    async def find(self, name: ModelName, capable: CapabilityCheck = can_generate) -> CatalogModel | None:
        """The model of the name, as in `find_first`."""
        return await self.find_first([name], capable)

    async def find_first(
        self, names: Sequence[ModelName], capable: CapabilityCheck = can_generate, fresh: bool = False
    ) -> CatalogModel | None:
        """The model of the first of the names that has one. Where none has one in this frontend's memory, the
        database is read first, since another frontend may just have made it; with `fresh` also where it is a
        preset, which another frontend may just have changed. Raises NoWorkerReady while no worker has
        reported.
        """
        found = self._find_in_memory(names, capable)
        if found is None or (fresh and found.preset is not None):
            await self._refresh_presets()
            found = self._find_in_memory(names, capable)
        return found

    async def models(self) -> list[CatalogModel]:
        """All of them, newest first; while the database is unavailable, with the presets read last."""
        try:
            await self.presets.refresh()
        except StoreUnavailable:
            if not self.presets.has_loaded:
                return self._without_presets()
        others = self._without_presets()
        taken = {model.name.key for model in self._all_but_presets()}
        made = (
            self._resolver.preset_model(preset)
            for preset in self.presets.all()
            if preset.name.key not in taken
        )
        return sorted([*filter(is_visible, made), *others], key=lambda model: -model.modified_unix_ns)

    def served(self, capable: CapabilityCheck) -> list[ServedModel]:
        """The ready workers' models that are `capable` and visible, each name once."""
        return [each for each in self.fleet.served(capable) if is_visible(CatalogModel(each.name, each))]

    def loaded(self) -> list[LoadedModel]:
        """The models in memory, under every name. A virtual model is loaded while one of its sides is, and
        has the latest expiry of them.
        """
        from_fleet = self.fleet.loaded()
        expiries = {each.model.name.key: each.expires_unix_ns for each in reversed(from_fleet)}
        loaded = [
            each
            for each in from_fleet
            if each.model.name.key not in self.routers
            and is_visible(CatalogModel(each.model.name, each.model))
        ]
        for model in self._resolver.virtual_models():
            targets, served = model.virtual, model.served
            if targets is None or served is None or not is_visible(model):
                continue
            times = [expiries[each.name.key] for each in targets.served if each.name.key in expiries]
            if times:
                loaded.append(LoadedModel(ServedModel(model.name, served.info), latest_expiry(times)))
        return loaded

    def check_permitted(self, name: ModelName, verb: str) -> None:
        """Raises NotPermitted for a name of which the client's key cannot have models."""
        if self.is_hidden(name):
            raise NotPermitted(
                f"cannot {verb} '{name.short}': your key may not use models of that name; choose another name"
            )

    def is_hidden(self, name: ModelName) -> bool:
        """Whether the client's key may not use what has the name, or would have it."""
        key = current_key()
        if key is None or not key.models:
            return False
        try:
            found = self._resolver.resolve(name, can_generate)
        except NoWorkerReady:
            found = None
        preset = self.presets.get(name.key)
        if preset is not None and not is_visible(self._resolver.preset_model(preset)):
            return True
        return not (key.may_use(name.short) if found is None else is_visible(found))

    def check_free(self, name: ModelName, verb: str) -> None:
        """Raises InvalidRequest for a name that a preset cannot have, NoWorkerReady while no worker has
        reported. `verb`: what the client wants to do with the name. Raises NotPermitted for a name of which
        the client's key cannot have models.
        """
        self.check_permitted(name, verb)
        if name.key in self.routers or self._resolver.router_side(name) is not None:
            raise InvalidRequest(
                f"cannot {verb} '{name.short}': it is a virtual model of this server's configuration; choose "
                "another name for a model of your own"
            )
        if self.fleet.hosts.find(name.key) is not None:
            raise InvalidRequest(
                f"cannot {verb} '{name.short}': a worker host has a model of that name; remove it first "
                f"(ollama rm {name.short}), or choose another name"
            )
        if self.fleet.find(name) is not None or self._resolver.named_adapter(name) is not None:
            raise InvalidRequest(
                f"cannot {verb} '{name.short}': this server's workers serve a model under that name. It is "
                "there as long as they run; choose another name for a model of your own"
            )

    def check_route(self, preset: Preset) -> None:
        """Check a preset that makes a virtual model. Raises InvalidRequest where it names a model that this
        server does not have: only the operator can add models of other hosts.
        """
        definition = of_parameters(preset.name, preset.base, preset.parameters)
        if (definition is not None or preset.base.key in self.routers) and preset.template:
            raise InvalidRequest("a model that chooses between others has no template of its own")
        if (definition is not None or preset.base.key in self.routers) and preset.adapter:
            raise InvalidRequest("adapters: a model that chooses between others takes no adapter")
        if definition is None:
            return
        for name in (*(side.model for side in definition.sides), definition.judge):
            target = self._resolver.target(name)
            if target.served is None or not is_visible(target):
                raise InvalidRequest(f"route parameters: this server has no model '{name.short}' to answer")

    async def put(self, preset: Preset) -> None:
        """Make or replace a preset. A name known in another letter case keeps its first spelling."""
        self.check_free(preset.name, "overwrite")
        known = self.presets.get(preset.name.key)
        await self.presets.put(preset if known is None else replace(preset, name=known.name))

    async def delete(self, name: ModelName, as_sent: str) -> None:
        """Delete a preset, even one that a served model of the same name hides. Raises ModelNotFound in
        Ollama's words, InvalidRequest for a served model, StoreUnavailable.
        """
        if self.is_hidden(name):
            raise ModelNotFound(f"model '{as_sent}' not found")
        if self.presets.get(name.key) is None:
            self.check_free(name, "delete")
        if not await self.presets.delete(name.key):
            raise ModelNotFound(f"model '{as_sent}' not found")

    def _find_in_memory(self, names: Sequence[ModelName], capable: CapabilityCheck) -> CatalogModel | None:
        models = (self._resolver.resolve(name, capable) for name in names)
        return next((model for model in models if model is not None and is_visible(model)), None)

    async def _refresh_presets(self) -> None:
        """While the database is unavailable the presets read last count, if they have ever been read."""
        try:
            await self.presets.refresh()
        except StoreUnavailable:
            if not self.presets.has_loaded:
                raise

    def _without_presets(self) -> list[CatalogModel]:
        return list(filter(is_visible, self._all_but_presets()))

    def _all_but_presets(self) -> list[CatalogModel]:
        served = [CatalogModel(model.name, model) for model in self.fleet.served()]
        hidden = self.routers.keys() | {model.name.key for model in served}
        named = [model for model in named_models(self.fleet) if model.name.key not in hidden]
        shown = [model for model in served if model.name.key not in self.routers]
        return self._resolver.router_models() + shown + named
