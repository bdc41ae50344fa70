"""Fleets of fake workers, at fixed addresses and taken in turn."""

from __future__ import annotations

from drover.errors import DroverError
from frontend.admission.admission import Admission
from frontend.admission.gate import Waited
from frontend.catalog.served import ServedModel
from frontend.fleet.discovery.static import Static
from frontend.fleet.fleet import Fleet
from frontend.fleet.moving.way_on import Stuck, WayOn
from frontend.fleet.picking.round_robin import RoundRobin
from tests.fakes.stalling_worker import StallingWorker


def fleet_of(
    *workers: StallingWorker, wait_seconds: float = 1.0, most_waiting: int = 512, stall_seconds: float = 0.0
) -> Fleet:
    by_address = {worker.address: worker for worker in workers}
    return Fleet(
        [Static(list(by_address))],
        by_address.__getitem__,
        RoundRobin(),
        Admission(most_waiting, wait_seconds),
        stall_seconds,
    )


def picked(fleet: Fleet, model: ServedModel) -> str:
    """Where a request that is no generation would go."""
    return fleet.pick(model).address


class Told:
    """Implements frontend.fleet.moving.request.Observer."""

    def __init__(self) -> None:
        self.waits: list[Waited] = []
        self.addresses: list[str] = []
        self.retries: list[DroverError] = []
        self.moves: list[WayOn] = []
        self.stuck_because: list[Stuck] = []

    def waited(self, waited: Waited) -> None:
        self.waits.append(waited)

    def sent_to(self, address: str) -> None:
        self.addresses.append(address)

    def retried(self, error: DroverError) -> None:
        self.retries.append(error)

    def moved(self, way: WayOn, error: DroverError) -> None:
        self.moves.append(way)

    def stuck(self, reason: Stuck, error: DroverError) -> None:
        self.stuck_because.append(reason)
