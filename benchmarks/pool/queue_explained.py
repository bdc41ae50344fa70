"""How much of a request's wait its queue explains: the turns that other models had before its own.

A turn is a load and the time for which a model then stays at least. With M places in memory and n turns that
come first, the model's own load begins after at most n / M turns, since all places are in use until then. Its
own load is not explained, nor is anything else.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from benchmarks.pool.clients import Answer
from benchmarks.pool.fleet import Residency
from benchmarks.pool.host_states import HostRecord, Moment


@dataclass(frozen=True, slots=True)
class Turns:
    """`models`: in memory at once, on one host. `answer_seconds`: mean time for which a request runs."""

    residency: Residency
    load_seconds: float
    models: int
    places: int
    answer_seconds: float

    def unexplained(self, answer: Answer, hosts: Sequence[HostRecord]) -> float:
        """In seconds."""
        own = answer.ahead / self.places * self.answer_seconds
        return max(0.0, answer.wait - own - self._turns_seconds(answer, hosts))

    def _turns_seconds(self, answer: Answer, hosts: Sequence[HostRecord]) -> float:
        """Of the turns before the model's own, when the request began to wait for it; of the host that loaded
        it.
        """
        counted = [
            seconds
            for host in hosts
            if (moments := host.during(answer.asked, answer.asked + answer.wait))
            and (seconds := self._seconds_from(answer.model, moments)) is not None
        ]
        return min(counted, default=0.0)

    def _seconds_from(self, model: str, moments: Sequence[Moment]) -> float | None:
        """None if the model did not wait for its turn there."""
        moment = next((each for each in moments if model in each.turns), None)
        if moment is None:
            return None
        stay = self.residency.busy_seconds(self.load_seconds, len(moment.turns))
        own_turn = [name for name, since in moment.ready.items() if moment.at < since + stay]
        turns = moment.turns.index(model) + len(own_turn) + len(moment.loading)
        return turns / self.models * (stay + self.load_seconds)
