"""The models of the store as frontends see them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from drover.v1 import host_pb2
from engine_worker.host.models.base import Needs, StoredModel
from engine_worker.host.models.catalog import Catalog
from engine_worker.host.models.records import LoadRecord


@dataclass(frozen=True, slots=True)
class _Made:
    """A message, and what it was made of."""

    message: host_pb2.StoredModel
    model: StoredModel
    record: LoadRecord | None
    needs: Needs


class Listing:
    """Makes messages anew only for models that have changed: a card may be large, and models many."""

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog
        self._version = -1
        self._made: Mapping[str, _Made] = {}
        self._short: Sequence[_Made] = ()
        """Those of which a load ran out of memory."""
        self._models: Mapping[str, host_pb2.StoredModel] = {}

    def models(self) -> Mapping[str, host_pb2.StoredModel]:
        """By their names: the same object until one has changed, and in it the same message for each model
        that has not.
        """
        # Read first: the catalog may change in a thread meanwhile.
        version = self._catalog.version
        if version != self._version or not all(map(self._is_current, self._short)):
            self._made = {model.name.short: self._make(model) for model in self._catalog.models}
            self._models = {name: made.message for name, made in self._made.items()}
            self._short = [made for made in self._made.values() if made.record and made.record.shortage]
            self._version = version
        return self._models

    def _is_current(self, made: _Made) -> bool:
        """What a record says changes only where it has a shortage, which counts for a time."""
        if self._catalog.loads.get(made.model.key) is not made.record:
            return False
        is_short = made.record is not None and made.record.shortage is not None
        return not is_short or made.needs == self._catalog.needs(made.model)

    def _make(self, model: StoredModel) -> _Made:
        known = self._made.get(model.name.short)
        if known is not None and known.model is model and self._is_current(known):
            return known
        record, needs = self._catalog.record(model), self._catalog.needs(model)
        message = host_pb2.StoredModel(
            card=self._catalog.card(model),
            memory_bytes=needs.memory_bytes,
            gpus=needs.gpus,
            gpu_bytes=needs.gpu_bytes,
            is_measured=record.memory_bytes > 0,
            load_ns=record.load_ns,
            engine=model.engine,
            unusable=model.unusable,
            pinned=model.is_pinned,
            max_replicas=model.max_replicas,
        )
        return _Made(message, model, self._catalog.loads.get(model.key), needs)
