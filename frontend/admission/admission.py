"""All gates of a frontend, and the bound on who waits at them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from frontend.admission.gate import Gate
from frontend.admission.queue import Ticket
from frontend.catalog.served import Kind, ServedModel

# Models that a frontend has seen come and go; a gate where nobody waits knows nothing worth keeping.
_MOST_GATES = 256


@dataclass(frozen=True, slots=True)
class InQueue:
    """`position`: 1 for the next one."""

    position: int
    waiting: int
    expected_seconds: float


class Admission:
    """`most_waiting`: of this frontend, for all models together."""

    def __init__(self, most_waiting: int, patience_seconds: float) -> None:
        self._most_waiting = most_waiting
        self.patience_seconds = patience_seconds
        self._gates: dict[Kind, Gate] = {}
        self._names: dict[Kind, str] = {}

    @property
    def waiting(self) -> int:
        return sum(map(len, self._gates.values()))

    @property
    def waiting_by_model(self) -> Mapping[str, int]:
        """By the first of a model's names; those for which nobody has asked yet are not there."""
        counts = Counter[str]()
        for key, gate in self._gates.items():
            counts[self._names[key]] += len(gate)
        return counts

    def gate(self, model: ServedModel) -> Gate:
        """Before the workers that can replace each other."""
        key = model.kind
        if key not in self._gates:
            self._tidy()
            self._gates[key] = Gate(self._may_wait, self.patience_seconds)
            self._names[key] = next(iter(model.info.names), "")
        return self._gates[key]

    def pump(self) -> None:
        for gate in list(self._gates.values()):
            gate.pump()

    def find(self, request_id: str, client: str) -> InQueue | None:
        """None for who does not wait. Where several clients use one id, the one that asks means its own; the
        id is enough where another one asks for it, as a monitor does.
        """
        own = self._find(lambda ticket: ticket.request_id == request_id and ticket.client == client)
        return own or self._find(lambda ticket: ticket.request_id == request_id)

    def _find(self, is_meant: Callable[[Ticket], bool]) -> InQueue | None:
        for gate in self._gates.values():
            position = gate.position(is_meant)
            if position is not None:
                return InQueue(position, len(gate), gate.expected_seconds(position))
        return None

    def _may_wait(self) -> bool:
        return self.waiting < self._most_waiting

    def _tidy(self) -> None:
        if len(self._gates) >= _MOST_GATES:
            self._gates = {key: gate for key, gate in self._gates.items() if len(gate)}
            self._names = {key: name for key, name in self._names.items() if key in self._gates}
