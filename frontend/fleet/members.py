"""One member of the fleet: a worker, what it serves, and whether it can take requests now."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from contextlib import aclosing

from drover import logs
from drover.errors import DroverError
from drover.names import ModelName
from drover.v1 import engine_pb2 as pb
from frontend.catalog.served import ServedModel
from frontend.fleet.base import Worker

_log = logging.getLogger("drover.fleet")
_REPORT_INTERVAL_SECONDS = 1.0
# A worker that has been silent for so many seconds is not ready, whatever its connection looks like.
_SILENCE_SECONDS = 8.0
_CONNECT_SECONDS = 5.0
_RETRY_SECONDS = 0.25


class Member:
    """`model`, `served` under each of its names, stays known while the worker is away: requests for it are
    answered "later", not "never".
    """

    def __init__(self, worker: Worker) -> None:
        self.worker = worker
        self.model: pb.Model | None = None
        self.served: Sequence[ServedModel] = ()
        self.load: pb.LoadReport | None = None

    @property
    def ready(self) -> bool:
        return self.load is not None and not self.load.draining

    async def bring_in(self, request: pb.LoadRequest) -> None:
        """Loads the model. Whoever then asks what is loaded must not have to wait for the next report."""
        response = await self.worker.load(request)
        if self.load is not None:
            self.load.loaded = True
            self.load.expires_unix_ns = response.expires_unix_ns

    async def watch(self) -> None:
        """Keeps `model` and `load` true, for as long as the frontend lives."""
        while True:
            try:
                await self._follow()
            except DroverError as error:
                self._lost(error.message)
            except TimeoutError:
                self._lost(f"no word for {_SILENCE_SECONDS:.0f} s")
            await asyncio.sleep(_RETRY_SECONDS)

    async def _follow(self) -> None:
        self.model = await self.worker.model(_CONNECT_SECONDS)
        self.served = _under_each_name(self.model)
        async with aclosing(self.worker.watch_load(_REPORT_INTERVAL_SECONDS)) as reports:
            while True:
                async with asyncio.timeout(_SILENCE_SECONDS):
                    self._heard(await anext(reports), self.model)

    def _heard(self, report: pb.LoadReport, model: pb.Model) -> None:
        if self.load is None:
            names = list(model.names)
            logs.event(_log, logging.INFO, "worker joined", worker=self.worker.address, names=names)
        self.load = report

    def _lost(self, reason: str) -> None:
        if self.load is not None:
            logs.event(_log, logging.WARNING, "worker lost", worker=self.worker.address, reason=reason)
        self.load = None


def _under_each_name(model: pb.Model) -> Sequence[ServedModel]:
    names = (ModelName.parse(text) for text in model.names)
    return [ServedModel(name, model) for name in names if name is not None]
