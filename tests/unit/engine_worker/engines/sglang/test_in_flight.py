"""The counts in load reports of a worker with SGLang."""

from __future__ import annotations

from types import SimpleNamespace
from typing import cast

import pytest

from drover.v1 import engine_pb2 as pb
from engine_worker.engines.sglang.in_flight import InFlight
from engine_worker.engines.sglang.output import Output, OutputContext
from engine_worker.engines.sglang.text import EngineText
from engine_worker.engines.sglang.upstream.calls import Finish
from engine_worker.engines.sglang.upstream.loads import EngineLoad
from engine_worker.engines.sglang.upstream.process import EngineProcess
from engine_worker.output.base import PlainText
from engine_worker.output.mailbox import Mailbox
from tests.unit.engine_worker.engines.sglang.test_output import ByteTable, chunk


def _process(in_flight: set[str]) -> EngineProcess:
    load = EngineLoad(0, 4, 9, 0, 0, 0)
    return cast(EngineProcess, SimpleNamespace(in_flight=lambda: set(in_flight), load=lambda: load))


def _output(earlier: pb.Continuation | None = None) -> Output:
    return Output(
        OutputContext(pb.Started(), EngineText(ByteTable()), PlainText(), earlier=earlier), Mailbox()
    )


def test_tokens_count_during_and_after_an_answer() -> None:
    counts = InFlight(_process({"a"}))
    output = _output()
    with counts.generating("a", output):
        output.feed(chunk("x", [1], 1))
        assert counts.report().decode_tokens_done == 1
        output.feed(chunk("x", [2], 2))
        assert counts.report().decode_tokens_done == 2
        output.feed(chunk("x", [3], 3, Finish(type="length")))
        assert counts.report().decode_tokens_done == 3
    report = counts.report()
    assert report.decode_tokens_done == 3
    assert report.cached_tokens_done == 1
    assert report.cache_hit_rate == pytest.approx(1 / 3)


def test_tokens_of_an_aborted_answer_stay_counted() -> None:
    counts = InFlight(_process({"a"}))
    output = _output()
    try:
        with counts.generating("a", output):
            output.feed(chunk("x", [1], 1))
            raise TimeoutError
    except TimeoutError:
        pass
    assert counts.report().decode_tokens_done == 1


def test_tokens_of_earlier_attempts_are_not_counted() -> None:
    counts = InFlight(_process({"a"}))
    output = _output(pb.Continuation(produced_ids=[7, 8]))
    with counts.generating("a", output):
        output.feed(chunk("x", [1], 1))
        assert counts.report().decode_tokens_done == 1


def test_a_request_runs_from_its_first_token_until_sglang_forgets_it() -> None:
    in_flight = {"a", "b"}
    counts = InFlight(_process(in_flight))
    first, second = _output(), _output()
    with counts.generating("b", second):
        with counts.generating("a", first):
            assert (counts.report().running, counts.report().waiting) == (0, 2)
            first.feed(chunk("x", [1], 1))
            assert (counts.report().running, counts.report().waiting) == (1, 1)
        # Its client left; SGLang has not ended it yet.
        assert (counts.report().running, counts.report().waiting) == (1, 1)
        in_flight.remove("a")
        assert (counts.report().running, counts.report().waiting) == (0, 1)
