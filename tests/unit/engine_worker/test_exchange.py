"""All requests of a frontend on one stream: steps, credit, failures, draining, and the log."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from typing import cast

import pytest

from drover.errors import ERROR_TYPES, ContextExceeded, DroverError, WorkerDraining
from drover.rpc import ROWS_OF_CREDIT
from drover.v1 import engine_pb2 as pb
from tests.support.waiting import until
from tests.unit.engine_worker.exchange_harness import (
    SECONDS,
    Pair,
    lines,
    name_of,
    running_exchange,
    submission,
)


@pytest.fixture
async def pair(request: pytest.FixtureRequest) -> AsyncIterator[Pair]:
    async with running_exchange(slots=getattr(request, "param", 64)) as pair:
        yield pair


async def test_rows_of_several_requests_are_one_message(pair: Pair) -> None:
    await pair.submit(1, 2, 3)
    for step in range(3):
        for number in (1, 2, 3):
            pair.say(number, f"{step}.")
        await pair.frontend.has_rows(3, step + 1)
    for number in (1, 2, 3):
        pair.end(number)
    await pair.frontend.has_end(1, 2, 3)

    assert [[row.number for row in step.rows] for step in pair.frontend.steps] == [[1, 2, 3]] * 4
    assert [pair.frontend.text(number) for number in (1, 2, 3)] == ["0.1.2."] * 3


async def test_an_answer_begins_continues_and_ends_as_with_a_call_of_its_own(pair: Pair) -> None:
    async def put(name: str) -> None:
        await until(lambda: name in pair.engine.mailboxes, SECONDS, "it runs")
        mailbox = pair.engine.mailboxes[name]
        mailbox.started(pb.Started(prompt_ids=[1, 2]))
        mailbox.content("a", [3], 1)
        mailbox.thinking("b", [4], 2)
        mailbox.tool_call(pb.ToolCallDelta(index=0, id="c", name="f", complete=True), [5], 3)
        pair.engine.end(name)

    await pair.frontend.submit(1)
    await put(name_of(1))
    await pair.frontend.has_end(1)
    call = pair.stub.GenerateStream(pb.GenerateRequest(request_id="own", raw="p"))
    await put("own")
    events = [event async for event in call]

    assert [row.event for row in pair.frontend.rows[1]] == events


async def test_without_credit_text_is_joined_and_others_go_on(pair: Pair) -> None:
    await pair.submit(1, 2)
    for said in range(2 * ROWS_OF_CREDIT):
        pair.say(1, f"{said}.")
        if said < ROWS_OF_CREDIT:
            await pair.frontend.has_rows(1, said + 1)
    pair.say(2, "other")
    pair.end(2)
    await pair.frontend.has_end(2)
    assert len(pair.frontend.rows[1]) == ROWS_OF_CREDIT

    await pair.frontend.grant(1, 1)
    await pair.frontend.has_rows(1, ROWS_OF_CREDIT + 1)
    assert pair.frontend.text(1) == "".join(f"{said}." for said in range(2 * ROWS_OF_CREDIT))

    pair.end(1)
    await pair.generates()
    assert not pair.frontend.ends(1)
    await pair.frontend.grant(1, 1)
    await pair.frontend.has_end(1)
    assert len(pair.frontend.rows[1]) == ROWS_OF_CREDIT + 2


async def test_credit_for_unknown_and_ended_requests_is_ignored(pair: Pair) -> None:
    await pair.submit(1)
    pair.end(1)
    await pair.frontend.has_end(1)
    await pair.frontend.grant(1, 32)
    await pair.frontend.grant(77, 32)
    await pair.frontend.abort(1, 77)
    await pair.generates()
    assert len(pair.frontend.rows[1]) == 1


@pytest.mark.parametrize("error_type", ERROR_TYPES.values(), ids=ERROR_TYPES)
async def test_a_failure_is_a_row_and_the_stream_stays(pair: Pair, error_type: type[DroverError]) -> None:
    await pair.submit(1)
    pair.say(1, "before")
    pair.engine.fail(name_of(1), error_type("what is wrong, größer als 4 %"))
    await pair.frontend.has_end(1)
    await pair.generates()

    assert pair.frontend.text(1) == "before"
    assert pair.frontend.reason(1) == error_type.__name__
    assert pair.frontend.rows[1][-1].failure.message == "what is wrong, größer als 4 %"


async def test_a_context_error_has_its_token_counts(pair: Pair) -> None:
    await pair.submit(1)
    pair.engine.fail(name_of(1), ContextExceeded("too long", 70_000, 4096))
    await pair.frontend.has_end(1)

    failure = pair.frontend.rows[1][-1].failure
    assert (failure.prompt_tokens, failure.context_tokens) == (70_000, 4096)


async def test_a_defect_is_an_error_of_its_own_request(pair: Pair) -> None:
    await pair.submit(1)
    pair.engine.fail(name_of(1), ZeroDivisionError("secret"))
    await pair.frontend.has_end(1)
    await pair.generates()

    assert pair.frontend.reason(1) == "InternalError"
    assert "secret" not in str(pair.frontend.rows[1])


async def test_a_request_that_is_refused_at_the_door(pair: Pair) -> None:
    await pair.submit(1)
    bad = submission(2)
    bad.request.request_id = ""
    taken = submission(3)
    taken.request.request_id = name_of(1)
    await pair.frontend.orders(pb.Orders(submissions=[bad, taken]))
    await pair.frontend.has_end(2, 3)
    await pair.generates()

    assert pair.frontend.reason(2) == pair.frontend.reason(3) == "InvalidRequest"


async def test_a_worker_that_drains_finishes_what_runs_and_refuses_the_rest(pair: Pair) -> None:
    await pair.submit(1)
    pair.worker.service.drain()
    await pair.frontend.submit(2)
    await pair.frontend.has_end(2)
    pair.say(1, "a")
    pair.end(1)
    await pair.frontend.has_end(1)

    assert pair.frontend.reason(2) == "WorkerDraining"
    assert pair.frontend.text(1) == "a"


async def test_requests_that_the_worker_ends_itself(pair: Pair) -> None:
    await pair.submit(1, 2, 3)
    await pair.stub.Abort(pb.AbortRequest(request_id=name_of(3)))
    await pair.frontend.has_end(3)
    pair.worker.end_all(WorkerDraining("drain timeout reached"))
    await pair.frontend.has_end(1, 2)

    assert [pair.frontend.reason(number) for number in (1, 2, 3)] == [
        "WorkerDraining",
        "WorkerDraining",
        "ClientLeft",
    ]
    await pair.is_free(1, 2, 3)


async def test_close_writes_what_is_ready_first(pair: Pair) -> None:
    await pair.submit(1, 2)
    pair.say(1, "ready")
    pair.end(2)
    pair.worker.service.close()
    await asyncio.wait_for(pair.frontend.reading, SECONDS)

    assert pair.frontend.status is None
    assert pair.frontend.text(1) == "ready"
    assert len(pair.frontend.ends(2)) == 1
    await pair.is_free(1, 2)


async def test_the_log_has_one_line_for_each_request(pair: Pair, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        await pair.submit(1, 2, 3)
        assert len(pair.worker.requests) == 3
        pair.engine.mailboxes[name_of(1)].started(pb.Started(prompt_ids=[1], truncated_tokens=7))
        pair.say(1, "a")
        pair.end(1)
        pair.engine.fail(name_of(2), ContextExceeded("too long"))
        await pair.frontend.abort(3)
        await pair.frontend.has_end(1, 2, 3)
        assert await pair.worker.requests.wait_empty(SECONDS)
        await until(lambda: len(lines(caplog)) == 3, SECONDS, "three lines")
    done, failed, left = sorted(lines(caplog), key=lambda line: str(line["attempt"]))
    assert [line["request_id"] for line in (done, failed, left)] == ["client-1", "client-2", "client-3"]
    assert done["completion_tokens"] == 1
    assert done["truncated_tokens"] == 7
    assert cast(float, done["first_ms"]) > 0
    assert "error" not in done
    assert (failed["error"], failed["error_message"]) == ("ContextExceeded", "too long")
    assert left["error"] == "ClientLeft"
