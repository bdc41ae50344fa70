"""Models by name: what the fleet serves, joined with the presets."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from drover.errors import InvalidRequest, ModelNotFound, NoWorkerReady, StoreUnavailable
from drover.names import ModelName
from frontend.catalog.model import CatalogModel
from frontend.catalog.preset import Preset
from frontend.catalog.presets import Presets
from frontend.catalog.served import ServedModel
from frontend.fleet.fleet import Able, Fleet, generates


@dataclass(frozen=True, slots=True)
class Catalog:
    fleet: Fleet
    presets: Presets

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
                return self._served()
        served = self._served()
        taken = {model.name.key for model in served}
        made = [self._model(preset) for preset in self.presets.known() if preset.name.key not in taken]
        return sorted([*made, *served], key=lambda model: -model.modified_unix_ns)

    def check_free(self, name: ModelName, verb: str) -> None:
        """Raises InvalidRequest for a name that is not the presets' to change, NoWorkerReady while that
        cannot be known.
        """
        if self.fleet.find(name) is not None:
            raise InvalidRequest(
                f"cannot {verb} '{name.short}': this server's workers serve a model under that name. It is "
                "there as long as they run; choose another name for a model of your own"
            )

    async def put(self, preset: Preset) -> None:
        self.check_free(preset.name, "overwrite")
        await self.presets.put(preset)

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

    def _known(self, name: ModelName, able: Able) -> CatalogModel | None:
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

    async def _look(self) -> None:
        """Another frontend may just have made what is looked for. With the database away, what is known
        counts, if ever anything was.
        """
        try:
            await self.presets.look()
        except StoreUnavailable:
            if not self.presets.has_looked:
                raise

    def _served(self) -> list[CatalogModel]:
        return [CatalogModel(model.name, model) for model in self.fleet.served()]

    def _model(self, preset: Preset, able: Able = generates) -> CatalogModel:
        try:
            served: ServedModel | None = self.fleet.find(preset.base, able)
        except NoWorkerReady:
            served = None
        return CatalogModel(preset.name, served, preset)
