"""The models of the store: what each is, and what loads have taught of it."""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from threading import Lock

from drover import logs
from drover.errors import InvalidRequest, ModelNotFound
from drover.names import ModelName
from drover.v1 import engine_pb2 as pb
from engine_worker.engines.llamacpp.gguf import GgufFile
from engine_worker.host.models.base import Needs, Reader, StoredModel
from engine_worker.host.models.model_settings import ModelRules
from engine_worker.host.models.records import LoadRecord, LoadRecords, Shortage
from engine_worker.host.models.simulated import simulated
from engine_worker.host.store.manifest import MODEL, Manifest
from engine_worker.host.store.store import Store

_log = logging.getLogger("drover.host")


class Catalog:
    """Reads manifests when `refresh` is called. `refresh` blocks: use a thread; all else only looks up."""

    def __init__(
        self,
        store: Store,
        readers: Sequence[Reader],
        records: LoadRecords,
        rules: ModelRules | None = None,
    ) -> None:
        self._rules = rules or ModelRules()
        self._store = store
        self._readers = readers
        self._records = records
        self._refreshing = Lock()
        self._read: dict[tuple[str, str], StoredModel | None] = {}
        self._models: Mapping[str, StoredModel] = {}
        self._by_key: Mapping[str, StoredModel] = {}
        self.pinned: Sequence[StoredModel] = ()
        """Those that can be used."""
        self.version = 0
        """Increased after each change."""
        self.loads: dict[str, LoadRecord] = {}
        """By the models' keys: with the settings that they have now."""

    @property
    def models(self) -> Sequence[StoredModel]:
        return list(self._models.values())

    def find(self, name: ModelName) -> StoredModel:
        """Raises ModelNotFound."""
        model = self._models.get(name.key)
        if model is None:
            raise ModelNotFound(f"model '{name.short}' not found")
        return model

    def with_key(self, key: str) -> StoredModel | None:
        """Of several names for one manifest, the first that is pinned, else the first."""
        return self._by_key.get(key)

    def check_files(self, model: StoredModel) -> None:
        """Raises ValueError if its files are not whole any more. One look at each of them, not into it."""
        self._store.check_files(model.manifest)

    def remove_damaged(self, model: StoredModel) -> bool:
        """Remove those of its files that are not what their digests say. Whether there were any. Blocks."""
        return bool(self._store.blobs.remove_damaged({layer.digest for layer in model.manifest.files}))

    def refresh(self) -> None:
        """Read what has changed in the store. One at a time: the last one to end has read the store last."""
        with self._refreshing:
            self._refresh()

    def _refresh(self) -> None:
        stored, modified = self._store.models(), self._store.modified_unix_ns()
        read = {
            (name.full, manifest.digest): self._read_once(name, manifest, modified.get(name.key, 0))
            for name, manifest in stored
        }
        self._read = read
        self._models = {model.name.key: model for model in read.values() if model is not None}
        self.pinned = [model for model in self._models.values() if model.is_pinned and not model.unusable]
        self._by_key = {model.key: model for model in reversed([*self.pinned, *self._models.values()])}
        self._forget_removed({manifest.digest for _, manifest in stored})
        for model in self._by_key.values():
            if model.key in self.loads:
                continue
            record = self._records.find(model.key)
            # With other settings it takes other memory, and can do other things.
            if record is not None and record.started_with == model.started_with:
                self.loads[model.key] = record
        self.version += 1

    def _forget_removed(self, keys: Collection[str]) -> None:
        for key in list(self.loads):
            if key not in keys:
                self.loads.pop(key, None)
        try:
            self._records.keep_only(keys)
        except OSError as error:
            logs.event(_log, logging.WARNING, "records of loads cannot be removed", reason=str(error))

    def needs(self, model: StoredModel) -> Needs:
        """What to plan with: as expected, and more than a load had that ran out of memory."""
        expected, shortage = self.expected(model), self.shortage(model)
        if shortage is None:
            return expected
        if shortage.is_of_gpu:
            return replace(expected, gpu_bytes=max(expected.gpu_bytes, shortage.room_bytes + 1))
        return replace(expected, memory_bytes=max(expected.memory_bytes, shortage.room_bytes + 1))

    def expected(self, model: StoredModel) -> Needs:
        """As measured, else estimated."""
        record, estimated = self.record(model), model.needs
        return Needs(
            record.memory_bytes or estimated.memory_bytes,
            estimated.gpus,
            record.gpu_bytes or estimated.gpu_bytes,
        )

    def shortage(self, model: StoredModel) -> Shortage | None:
        """Of a load that ran out of memory a while ago."""
        shortage = self.record(model).shortage
        return shortage if shortage and shortage.counts else None

    def card(self, model: StoredModel) -> pb.Model:
        """As its worker described it, else as its files do; without tensors."""
        record = self.record(model)
        card = without_tensors(record.card if record.card.names else model.card)
        card.names[:] = [model.name.short]
        # Of the manifest, and so the same before and after a load. Workers do not get the licences.
        card.digest, card.size_bytes = model.card.digest, model.card.size_bytes
        card.licenses[:] = model.card.licenses
        card.modified_unix_ns = model.card.modified_unix_ns
        card.model_info_json = model.card.model_info_json
        card.starting_parameters_json = model.card.starting_parameters_json
        card.messages_json = model.card.messages_json
        card.adapter_digests[:] = model.card.adapter_digests
        return card

    def described(self, model: StoredModel, verbose: bool) -> pb.Model:
        """The card with the tensors; `verbose`: and the long lists of the metadata. Blocks.

        Raises ValueError for a file that cannot be read.
        """
        card = self.card(model)
        card.tensors.extend(model.card.tensors)
        if verbose and (layers := model.manifest.of_type(MODEL)):
            path = self._store.blobs.path(layers[0].digest)
            card.model_info_json = GgufFile(path, with_lists=True).model_info_json()
        return card

    def record(self, model: StoredModel) -> LoadRecord:
        """What is known; empty before the first load."""
        return self.loads.get(model.key) or LoadRecord()

    def learn(self, model: StoredModel, record: LoadRecord) -> None:
        """What a load has taught, or its failure. `keep` writes it."""
        self.loads[model.key] = replace(record, started_with=model.started_with)
        self.version += 1

    def keep(self, model: StoredModel) -> None:
        """Write what was learned, for later processes of this host. Blocks."""
        if self.with_key(model.key) is None:
            # It was removed while its worker ran.
            return
        try:
            self._records.put(model.key, self.record(model))
        except OSError as error:
            logs.event(_log, logging.WARNING, "a load cannot be remembered", reason=str(error))

    def _read_once(self, name: ModelName, manifest: Manifest, modified_ns: int) -> StoredModel | None:
        known = (name.full, manifest.digest)
        model = self._read[known] if known in self._read else self._try_to_read(name, manifest)
        if model is None or model.card.modified_unix_ns == modified_ns:
            return model
        card = pb.Model()
        card.CopyFrom(model.card)
        card.modified_unix_ns = modified_ns
        return replace(model, card=card)

    def _try_to_read(self, name: ModelName, manifest: Manifest) -> StoredModel | None:
        """None, with a log line, for a model whose files cannot be used."""
        try:
            settings = self._rules.of(name)
            for read in self._readers:
                if (model := read(name, manifest, settings)) is not None:
                    return simulated(model, settings) if settings.engine == "simulator" else model
            reason = "its manifest has no file of a kind that is known"
        except (OSError, ValueError, InvalidRequest) as error:
            reason = str(error)
        except Exception as error:  # noqa: BLE001 - a file that a library fails at must not end the host
            reason = f"{type(error).__name__}: {error}"
        logs.event(_log, logging.ERROR, "a model cannot be used", model=name.short, reason=reason)
        return None


def without_tensors(card: pb.Model) -> pb.Model:
    """A copy for lists: tensors are many."""
    short = pb.Model()
    short.CopyFrom(card)
    del short.tensors[:]
    return short
