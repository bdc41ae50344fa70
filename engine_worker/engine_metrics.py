"""The engine's own metrics, passed on at the worker's metrics address under their own names, with the label
`model`.

They are read when they are scraped. An engine that does not answer in time, or not in Prometheus' format,
costs the scrape its metrics and nothing else.
"""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Awaitable, Callable, Iterator

# Of the future of a coroutine in another thread.
from concurrent.futures import CancelledError
from concurrent.futures import TimeoutError as NoAnswer

from prometheus_client.core import Metric
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.registry import Collector
from prometheus_client.samples import Sample

from drover import logs
from drover.errors import DroverError

_log = logging.getLogger("drover.worker")
_ANSWER_SECONDS = 2.0
# Of an engine: what its client library adds about its process is not passed on.
_NAMES = re.compile(r"(?:sglang|llamacpp):")
# llama.cpp calls some averages and maxima counters. A client library would append `_total` to their names.
_NO_COUNTER = re.compile(r"^(# TYPE \S+(?<!_total)) counter$", re.MULTILINE)

ReadEngine = Callable[[], Awaitable[str]]
"""The engine's metrics in Prometheus' text format."""


class EngineMetrics(Collector):
    """`read` is called in `loop` while the scrape's thread waits, at most `answer_seconds`."""

    def __init__(
        self,
        model: str,
        read: ReadEngine,
        loop: asyncio.AbstractEventLoop,
        answer_seconds: float = _ANSWER_SECONDS,
    ) -> None:
        self._model = model
        self._read = read
        self._loop = loop
        self._answer_seconds = answer_seconds

    def collect(self) -> Iterator[Metric]:
        reading = asyncio.run_coroutine_threadsafe(self._text(), self._loop)
        try:
            families = families_of(reading.result(self._answer_seconds), self._model)
        except (NoAnswer, CancelledError):
            reading.cancel()
            self._report(f"no answer within {self._answer_seconds:g} s")
        except (DroverError, OSError, ValueError) as error:
            self._report(str(error))
        else:
            yield from families

    async def _text(self) -> str:
        return await self._read()

    def _report(self, reason: str) -> None:
        logs.event(_log, logging.WARNING, "the engine's own metrics cannot be read", reason=reason)


def families_of(text: str, model: str) -> list[Metric]:
    """The engine's families, each once, with the label `model`. Raises ValueError for other text."""
    found: dict[str, Metric] = {}
    for family in text_string_to_metric_families(_NO_COUNTER.sub(r"\1 gauge", text)):
        if _NAMES.match(family.name):
            known = found.setdefault(family.name, family)
            samples = [_labelled(sample, model) for sample in family.samples]
            known.samples = samples if known is family else [*known.samples, *samples]
    return list(found.values())


def _labelled(sample: Sample, model: str) -> Sample:
    return sample._replace(labels={**sample.labels, "model": model}, exemplar=None)
