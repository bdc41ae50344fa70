"""Goals and tables of `make bench-pool`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from statistics import mean

from benchmarks.goals import Goal
from benchmarks.measure import percentile
from benchmarks.parts.base import Part
from benchmarks.pool.arrival_order import MODELS_IN_MEMORY
from benchmarks.pool.clients import Answer
from benchmarks.pool.cost import Cost
from benchmarks.pool.fleet import Residency
from benchmarks.pool.host_states import HostRecord
from benchmarks.pool.queue_explained import Turns
from benchmarks.pool.workload import Workload
from benchmarks.table import table


@dataclass(frozen=True, slots=True)
class Run:
    """Of one policy. `began`: time.monotonic; `warm_up_seconds`: after that, in which all hosts load for the
    first time, answers count for the throughput. `unanswered`: requests that were open at the end.
    """

    policy: str
    began: float
    warm_up_seconds: float
    seconds: float
    residency: Residency
    answers: Sequence[Answer]
    unanswered: Sequence[Answer]
    failed: int
    hosts: Sequence[HostRecord]

    @property
    def per_second(self) -> float:
        warm = self.began + self.warm_up_seconds
        return sum(each.ended >= warm for each in self.answers) / (self.seconds - self.warm_up_seconds)

    @property
    def waits(self) -> Sequence[float]:
        return sorted(each.wait for each in (*self.answers, *self.unanswered))

    @property
    def loads(self) -> Sequence[float]:
        return [seconds for host in self.hosts for seconds in host.load_seconds]

    @property
    def most_mib(self) -> float:
        """Measured where processes are, else what simulated models claim."""
        return max(host.most_measured_mib or host.most_claimed_mib for host in self.hosts)

    def unexplained(self, places: int) -> Sequence[float]:
        """Of each request, sorted."""
        answer_seconds = mean(each.ended - each.asked - each.wait for each in self.answers)
        turns = Turns(self.residency, mean(self.loads), MODELS_IN_MEMORY, places, answer_seconds)
        return sorted(turns.unexplained(each, self.hosts) for each in (*self.answers, *self.unanswered))


def part_of(workload: Workload, runs: Sequence[Run], cost: Cost | None) -> Part:
    plan, *others = runs
    strict, ollama, at_once = others
    kind = "measured (PSS)" if workload.is_measured else "claimed by simulated models"
    unexplained = plan.unexplained(workload.places)
    goals = [
        Goal("failed requests", plan.failed, "at most", 0),
        Goal(f"most memory of a host, {kind}", plan.most_mib, "at most", workload.budget_mib, " MiB"),
        Goal("longest wait beyond its queue", unexplained[-1], "at most", 3 * mean(plan.loads), " s"),
        *(
            Goal(f"throughput to {each.policy}", plan.per_second / each.per_second, "at least", 2)
            for each in (strict, ollama)
        ),
        *(cost.goals() if cost is not None else ()),
    ]
    heads = (
        *("policy", "requests/s", "failed", "wait p50 s", "wait p99 s", "longest s"),
        *("loads", "load s", "most MiB"),
    )
    name = "pool" if workload.engine == "simulator" else f"pool_{workload.engine}"
    title = f"Models on demand: {workload.engine}, {len(workload.names)} models, {MODELS_IN_MEMORY} in memory"
    notes = (
        f"The plan without a minimum residency, where a load serves all that gathered: "
        f"{plan.per_second / at_once.per_second:.2f}."
    )
    shown = f"{table(title, heads, [_row(run) for run in runs])}\n{notes}"
    raw = {
        "engine": workload.engine,
        "models": workload.names,
        "budget_mib": workload.budget_mib,
        "unexplained_seconds": {"p50": percentile(unexplained, 50), "p99": percentile(unexplained, 99)},
        "ratio_to_residency_0": plan.per_second / at_once.per_second,
        "runs": [_raw(run) for run in runs],
        "cost": asdict(cost) if cost is not None else None,
    }
    return Part(name, shown, goals, raw)


def _row(run: Run) -> list[str]:
    waits = run.waits
    numbers = (run.per_second, run.failed, percentile(waits, 50), percentile(waits, 99), waits[-1])
    more = (len(run.loads), mean(run.loads), run.most_mib)
    return [
        run.policy,
        *(f"{number:.2f}" if isinstance(number, float) else str(number) for number in (*numbers, *more)),
    ]


def _raw(run: Run) -> dict[str, object]:
    waits = run.waits
    return {
        "policy": run.policy,
        "seconds": run.seconds,
        "warm_up_seconds": run.warm_up_seconds,
        "requests_per_second": run.per_second,
        "residency": asdict(run.residency),
        "requests": len(run.answers),
        "unanswered": len(run.unanswered),
        "failed": run.failed,
        "wait_seconds": {"p50": percentile(waits, 50), "p99": percentile(waits, 99), "longest": waits[-1]},
        "loads": len(run.loads),
        "mean_load_seconds": mean(run.loads),
        "most_memory_mib": {
            "measured": [host.most_measured_mib for host in run.hosts],
            "claimed": [host.most_claimed_mib for host in run.hosts],
            "samples": [host.memory_samples for host in run.hosts],
        },
    }
