"""The console's state in this process: its recorder, its viewers, and the task that updates both."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable

from drover.json_value import Json
from frontend.access.console_session import Sessions
from frontend.access.key import Key
from frontend.access.keys import Keys
from frontend.api.in_flight import InFlightRequests
from frontend.console.history import Point
from frontend.console.recorder import Recorder
from frontend.console.snapshot import Snapshot, snapshot
from frontend.console.view import View
from frontend.console.viewers import Viewer, Viewers
from frontend.routing.fleet import Fleet

_log = logging.getLogger("drover.console")
_INTERVAL_SECONDS = 1.0
# Each is one connection of a browser; what they cost together is the encoding for each role.
_MAX_VIEWERS = 64


class Console:
    """`connections`: how many HTTP connections are open."""

    def __init__(
        self,
        fleet: Fleet,
        in_flight: InFlightRequests,
        keys: Keys,
        sessions: Sessions,
        connections: Callable[[], int],
        now: Callable[[], float] = time.time,
    ) -> None:
        self.keys = keys
        self.sessions = sessions
        self.recorder = Recorder(now)
        self.viewers = Viewers(_MAX_VIEWERS)
        self._fleet = fleet
        self._in_flight = in_flight
        self._connections = connections
        self._now = now
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        self._task = asyncio.create_task(self._run(), name="console")

    async def stop(self) -> None:
        self.viewers.end()
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait({self._task})

    def view_of(self, key: Key | None) -> View:
        """`key`: of the request; None where no keys are used."""
        return View(key, self._name_of)

    def state(self, view: View) -> dict[str, Json]:
        """All that the view shows now, with the whole history."""
        taken = self._snapshot()
        state = view.sections(taken, self.recorder.rates)
        return state | {"points": self._history(view, taken)}

    def update(self) -> None:
        """Sample the fleet, and publish its state to the viewers."""
        self.recorder.sample(self._fleet.workers(), self._fleet.queues.waiting_by_model)
        if self._in_flight.draining:
            self.viewers.end()
        elif len(self.viewers):
            self.viewers.close_unless(self._is_current)
            taken = self._snapshot()
            for view in list(self.viewers.views()):
                self.viewers.publish(view, view.sections(taken, self.recorder.rates))
            self.viewers.forget_absent()

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(_INTERVAL_SECONDS)
            try:
                self.update()
            except Exception:  # noqa: BLE001 - if the task ended, the page would stand still for ever
                _log.exception("cannot update the console")

    def _name_of(self, client: str) -> str:
        stored = self.keys.known(client)
        return stored.key.name if stored else client

    def _is_current(self, viewer: Viewer) -> bool:
        """Whether it may still see what it sees: its key may have been revoked or changed, or there is one
        now where there was none.
        """
        if viewer.session is not None:
            return self.sessions.is_current(viewer.session)
        key = viewer.view.key
        if key is None:
            return self.keys.are_open
        stored = self.keys.known(key.id)
        return stored is not None and stored.state(self._now()) == "active" and stored.key == key

    def _snapshot(self) -> Snapshot:
        return snapshot(self._fleet, self.recorder, self._connections, self._in_flight.draining, self._now())

    def _history(self, view: View, taken: Snapshot) -> dict[str, Json]:
        def listed(points: list[Point]) -> list[Json]:
            return [list(point) for point in points]

        return {
            model: listed(series.points(taken.now))
            for model, series in self.recorder.series()
            if not model or view.sees(model, taken)
        }
