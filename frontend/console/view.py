"""What a role sees of a snapshot.

An admin, and everybody where no keys are used, sees all of it. `metrics` sees the fleet without the names of
clients and without what their requests said. `user` sees the models that its key may use, without the
addresses of workers and without worker hosts, and of clients itself only.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from drover.json_value import Json
from frontend.access.key import Key, Role
from frontend.console.incidents import Incident
from frontend.console.recorder import ALL_MODELS
from frontend.console.snapshot import Snapshot, worker_json
from frontend.routing.fleet import WorkerStatus

_ANOTHER = "another client"
_YOU = "you"


@dataclass(frozen=True, slots=True)
class View:
    """`key`: None where no keys are used; `name_of`: a client's name for people."""

    key: Key | None
    name_of: Callable[[str], str]

    @property
    def id(self) -> str:
        """Equal for all who see the same."""
        return f"{self.key.id} {self.key.role} {self.key.models}" if self.key else ""

    @property
    def role(self) -> Role:
        return self.key.role if self.key else Role.ADMIN

    def sections(self, snapshot: Snapshot, rates: Mapping[str, float]) -> dict[str, Json]:
        """The parts of the page's state. `rates`: tokens a second of each worker."""
        models = [name for name in snapshot.models if self.sees(name, snapshot)]
        workers = [
            self._worker(number, worker, rates.get(worker.address, 0.0))
            for number, worker in enumerate(snapshot.workers, start=1)
            if worker.model in models or (not worker.model and self.role is not Role.USER)
        ]
        return {
            "summary": snapshot.summary,
            "models": [snapshot.models[name] for name in models],
            "workers": list(workers),
            "hosts": [] if self.role is Role.USER else snapshot.hosts,
            "queue": [
                {
                    "model": waiting.model,
                    "position": waiting.position,
                    "client": self._client(waiting.ticket.client),
                    "priority": waiting.ticket.priority,
                    "seconds": round(waiting.seconds, 1),
                }
                for waiting in snapshot.queue
                if self.sees(waiting.model, snapshot)
            ],
            "incidents": [self._incident(each) for each in snapshot.incidents if self._concerns(each)],
            "points": {
                model: [list(point) for point in points]
                for model, points in snapshot.points.items()
                if model == ALL_MODELS or self.sees(model, snapshot)
            },
        }

    def sees(self, model: str, snapshot: Snapshot) -> bool:
        """Whether its key may use the model, under one of its names."""
        if self.role is not Role.USER or self.key is None:
            return True
        return any(map(self.key.may_use, [model, *snapshot.names.get(model, ())]))

    def _client(self, client: str) -> str:
        if self.role is Role.ADMIN:
            return self.name_of(client)
        return _YOU if self.key is not None and client == self.key.id else _ANOTHER

    def _worker(self, number: int, worker: WorkerStatus, rate: float) -> dict[str, Json]:
        shown = worker_json(worker, rate)
        return shown | ({"address": f"worker {number}"} if self.role is Role.USER else {})

    def _concerns(self, incident: Incident) -> bool:
        if self.role is not Role.USER:
            return True
        return self.key is not None and incident.client == self.key.id

    def _incident(self, incident: Incident) -> dict[str, Json]:
        return {
            "kind": incident.kind,
            "model": incident.model,
            "worker": "" if self.role is Role.USER else incident.worker,
            "client": self._client(incident.client) if incident.client else "",
            "text": self._text(incident),
            "status": incident.status,
            "times": incident.times,
            "last": round(incident.last, 1),
        }

    def _text(self, incident: Incident) -> str:
        """An error's text may quote its request, which `metrics` must not see; a move's is an error's."""
        if self.role is not Role.METRICS or incident.kind == "worker":
            return incident.text
        return f"request failed with status {incident.status}" if incident.kind == "error" else ""
