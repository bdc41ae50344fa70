"""How much of a request's wait its queue explains: the turns that other models had before its own.

A turn is a load and the time for which a model then stays at least. With M places in memory and n turns that
come first, the model's own load begins after at most n / M turns, since all places are in use until then. Its
own load is not explained, nor is anything else.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from benchmarks.pool.clients import Answer
from benchmarks.pool.host_states import HostRecord, Moment


@dataclass(frozen=True, slots=True)
class Turns:
    """`models`: in memory at once, on one host. `answer_seconds`: mean time for which a request runs."""

    residency_seconds: float
    load_seconds: float
    models: int
    places: int
    answer_seconds: float

    def unexplained(self, answer: Answer, hosts: Sequence[HostRecord]) -> float:
        """In seconds."""
        own = answer.ahead / self.places * self.answer_seconds
        turns = self._ahead(answer, hosts) / self.models * (self.residency_seconds + self.load_seconds)
        return max(0.0, answer.wait - own - turns)

    def _ahead(self, answer: Answer, hosts: Sequence[HostRecord]) -> int:
        """Turns before the model's own, when the request began to wait for it; of the host that loaded it."""
        counted = [
            ahead
            for host in hosts
            if (moments := host.during(answer.asked, answer.asked + answer.wait))
            and (ahead := self._ahead_at(answer.model, moments)) is not None
        ]
        return min(counted, default=0)

    def _ahead_at(self, model: str, moments: Sequence[Moment]) -> int | None:
        """None if the model did not wait for its turn there."""
        for moment in moments:
            if model in moment.turns:
                before = moment.turns.index(model)
                own_turn = [
                    name for name, since in moment.ready.items() if moment.at < since + self.residency_seconds
                ]
                return before + len(own_turn) + len(moment.loading)
        return None
