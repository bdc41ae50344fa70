"""Which worker gets a request."""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass

from drover.errors import DroverError, NoWorkerReady
from drover.names import ModelName
from drover.v1 import engine_pb2 as pb
from frontend.catalog.served import ServedModel
from frontend.fleet.base import RequestHandle, Worker
from frontend.fleet.members import Member

_log = logging.getLogger("drover.fleet")

Able = Callable[[pb.Capabilities], bool]


def generates(can: pb.Capabilities) -> bool:
    return can.completion


def embeds(can: pb.Capabilities) -> bool:
    return can.embedding


@dataclass(frozen=True, slots=True)
class LoadedModel:
    """A model that at least one replica has in memory; `expires_unix_ns`: the latest of them, 0 for never."""

    model: ServedModel
    expires_unix_ns: int


class Fleet:
    """Workers at fixed addresses, taken in turn."""

    def __init__(self, addresses: Sequence[str], connect: Callable[[str], Worker]) -> None:
        self._addresses = addresses
        self._connect = connect
        self._members: list[Member] = []
        self._watchers: list[asyncio.Task[None]] = []
        self._turn = 0

    async def start(self) -> None:
        """Connects in the background: workers may come later. Channels belong to the running loop."""
        self._members = [Member(self._connect(address)) for address in self._addresses]
        for member in self._members:
            watcher = asyncio.create_task(member.watch(), name=f"watch {member.worker.address}")
            watcher.add_done_callback(_report_death)
            self._watchers.append(watcher)

    async def stop(self) -> None:
        for watcher in self._watchers:
            watcher.cancel()
        await asyncio.gather(*self._watchers, return_exceptions=True)
        for member in self._members:
            await member.worker.close()

    @property
    def has_ready_worker(self) -> bool:
        return any(member.ready for member in self._members)

    def served(self) -> list[ServedModel]:
        """Every name once, newest model first, as lists show them."""
        models: dict[str, ServedModel] = {}
        for member in self._members:
            for model in member.served if member.ready else ():
                models.setdefault(model.name.key, model)
        return sorted(models.values(), key=lambda model: -model.info.modified_unix_ns)

    def find(self, name: ModelName, able: Able = generates) -> ServedModel | None:
        """Also a model whose workers are away. Where several have the name: one that is `able`, and of those
        one that is here. Raises NoWorkerReady while no worker has ever answered.
        """
        known = [
            (able(model.info.capabilities), member.ready, model)
            for member in self._members
            for model in member.served
            if model.name.key == name.key
        ]
        if known:
            return max(known, key=lambda each: each[:2])[2]
        if all(member.model is None for member in self._members):
            raise NoWorkerReady("no engine worker is ready yet, please try again")
        return None

    def pick(self, model: ServedModel) -> Worker:
        """Raises NoWorkerReady while none that serves the model can take requests."""
        able = self._replicas(model)
        self._turn += 1
        return able[self._turn % len(able)].worker

    def loaded(self) -> list[LoadedModel]:
        """Under every name, the latest expiry first."""
        return sorted(
            (
                LoadedModel(model, expiry)
                for model in self.served()
                if (expiry := self._expiry(model)) is not None
            ),
            key=lambda loaded: (loaded.expires_unix_ns != 0, -loaded.expires_unix_ns),
        )

    async def load(self, model: ServedModel, request: pb.LoadRequest) -> None:
        """On every replica that can be reached. Raises what the last one says when none of them could."""
        await _any_of(member.bring_in(request) for member in self._replicas(model))

    async def unload(self, model: ServedModel) -> None:
        """On every replica that can be reached."""
        await _any_of(member.worker.unload() for member in self._replicas(model))

    def submit(self, worker: Worker, request: pb.GenerateRequest, client_request_id: str) -> RequestHandle:
        """Gives the attempt an id of its own and sends it."""
        request.request_id = _new_attempt_id()
        return worker.submit(request, client_request_id)

    async def embed(
        self, worker: Worker, request: pb.EmbedRequest, client_request_id: str
    ) -> pb.EmbedResponse:
        request.request_id = _new_attempt_id()
        return await worker.embed(request, client_request_id)

    def _replicas(self, model: ServedModel) -> list[Member]:
        """Those that can take requests. Raises NoWorkerReady when there is none."""
        able = [
            member
            for member in self._members
            if member.ready and member.model is not None and _can_replace(member.model, model.info)
        ]
        if not able:
            raise NoWorkerReady(
                f"no engine worker for model '{model.name.short}' can be reached right now, please try again"
            )
        return able

    def _expiry(self, model: ServedModel) -> int | None:
        """None where no replica has the model in memory."""
        reports = [member.load for member in self._replicas(model)]
        expiries = [report.expires_unix_ns for report in reports if report is not None and report.loaded]
        return None if not expiries else 0 if 0 in expiries else max(expiries)


async def _any_of(calls: Iterable[Awaitable[object]]) -> None:
    """All at the same time; one success is enough, since a worker that is away has nothing in memory."""
    results = await asyncio.gather(*calls, return_exceptions=True)
    failures = [result for result in results if isinstance(result, BaseException)]
    for failure in failures:
        if not isinstance(failure, DroverError):
            raise failure
        _log.warning("one of %d replicas: %s", len(results), failure.message)
    if len(failures) == len(results):
        raise failures[-1]


def _new_attempt_id() -> str:
    return secrets.token_hex(16)


def _can_replace(one: pb.Model, other: pb.Model) -> bool:
    """The same files may serve different tasks: one worker generates with them, another one embeds."""
    return one.digest == other.digest and one.capabilities == other.capabilities


def _report_death(watcher: asyncio.Task[None]) -> None:
    """A watcher ends only when it is cancelled; anything else is a defect that must be seen."""
    if not watcher.cancelled() and (error := watcher.exception()) is not None:
        _log.error("%s died", watcher.get_name(), exc_info=error)
