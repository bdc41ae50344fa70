"""What finished requests and samples leave in the recorder."""

from __future__ import annotations

import tracemalloc

import pytest

from drover.errors import NotAuthenticated
from drover.v1 import engine_pb2 as pb
from frontend.console.recorder import ALL_MODELS, Recorder
from tests.unit.frontend.console.fleet_of_many import failed, finished, lost, worker

_NOW = 1_700_000_000.0


@pytest.fixture
def recorder() -> Recorder:
    return Recorder(lambda: _NOW)


def _kinds(recorder: Recorder) -> list[tuple[str, str, int]]:
    return [(each.kind, each.text, each.times) for each in recorder.incidents]


def test_a_request_counts_for_its_model_and_in_total(recorder: Recorder) -> None:
    recorder.count(finished("m", ttft_ns=200_000_000, failovers=1, retries=2), "/api/chat")
    recorder.count(failed("it broke"), "/api/chat")
    for model in ("m", ALL_MODELS):
        window = dict(recorder.series())[model].window
        assert (window.requests, window.errors, window.moves, window.ttft.total) == (2, 1, 3, 1)


def test_requests_of_the_page_itself_do_not_count_but_its_chats(recorder: Recorder) -> None:
    recorder.count(failed("the key is not valid"), "/console/login")
    recorder.count(finished("m"), "/console/events")
    recorder.count(finished("m"), "/console/chat")
    assert dict(recorder.series())[ALL_MODELS].window.requests == 1
    assert _kinds(recorder) == []


def test_tokens_are_the_growth_of_the_workers_counters(recorder: Recorder) -> None:
    recorder.sample([worker("a", generated=1000, prefill_tokens_done=10)], {})
    recorder.sample([worker("a", generated=1400, prefill_tokens_done=110, cached_tokens_done=100)], {})
    window = dict(recorder.series())["m"].window
    assert (window.generated_tokens, window.prompt_tokens, window.cached_tokens) == (400, 200, 100)
    assert recorder.rates["a"] == 400


def test_a_worker_that_starts_again_takes_nothing_away(recorder: Recorder) -> None:
    recorder.sample([worker("a", generated=1000)], {})
    recorder.sample([worker("a", generated=5)], {})
    recorder.sample([worker("a", generated=12)], {})
    assert dict(recorder.series())["m"].window.generated_tokens == 7


def test_tokens_of_an_ollama_host_count_when_the_answer_ends(recorder: Recorder) -> None:
    done = pb.Done(prompt_tokens=7, completion_tokens=30)
    hosted = finished("m", done=done)
    hosted.fields["worker"] = "ollama:http://host:11434/m"
    recorder.count(hosted, "/api/chat")
    recorder.count(finished("m", done=done), "/api/chat")
    assert dict(recorder.series())["m"].window.generated_tokens == 30


def test_the_same_error_is_counted_and_a_burst_leaves_others(recorder: Recorder) -> None:
    recorder.count(failed("rare"), "/api/chat")
    for _ in range(500):
        recorder.count(failed("frequent"), "/api/chat")
    assert _kinds(recorder) == [("error", "frequent", 500), ("error", "rare", 1)]
    for number in range(200):
        recorder.count(failed(f"error {number}"), "/api/chat")
    assert len(_kinds(recorder)) == 50
    assert _kinds(recorder)[0] == ("error", "error 199", 1)


def test_guesses_of_keys_are_one_entry_whatever_they_are(recorder: Recorder) -> None:
    recorder.count(failed("rare"), "/api/chat")
    for number in range(200):
        guess = failed("the key is not valid", model="", status=401, client=f"key {number}")
        guess.error = NotAuthenticated.__name__
        recorder.count(guess, "")
    assert _kinds(recorder) == [("error", "the key is not valid", 200), ("error", "rare", 1)]


def test_a_long_text_is_cut(recorder: Recorder) -> None:
    recorder.count(failed("x" * 4000), "/api/chat")
    [(_, text, _)] = _kinds(recorder)
    assert len(text) < 300


def test_moves_and_changes_of_workers_are_listed(recorder: Recorder) -> None:
    moved = finished("m", failovers=1)
    moved.fields |= {"worker_error": "the worker was lost", "worker": "b"}
    recorder.sample([worker("a"), worker("b")], {})
    recorder.count(moved, "/api/chat")
    recorder.sample([lost("a"), worker("b", draining=True)], {})
    recorder.sample([worker("b", draining=True)], {})
    newest, *_ = recorder.incidents
    assert newest.model == "m"
    assert [(each.kind, each.text, each.worker) for each in recorder.incidents] == [
        ("worker", "worker was removed", "a"),
        ("worker", "worker is draining", "b"),
        ("worker", "worker is lost", "a"),
        ("failover", "the worker was lost", "b"),
        ("worker", "worker is ready", "b"),
        ("worker", "worker is ready", "a"),
    ]


def test_models_that_are_gone_make_room_and_too_many_count_in_total_only() -> None:
    now = _NOW
    recorder = Recorder(lambda: now)
    for number in range(80):
        recorder.count(finished(f"m{number}"), "/api/chat")
    assert len(dict(recorder.series())) == 65
    assert dict(recorder.series())[ALL_MODELS].window.requests == 80
    now += 1000
    for _ in range(2):
        recorder.sample([worker("a", "new")], {})
    assert set(dict(recorder.series())) == {ALL_MODELS, "new"}


def test_memory_does_not_grow_with_the_traffic() -> None:
    now = _NOW
    recorder = Recorder(lambda: now)

    def quarter_of_an_hour() -> None:
        nonlocal now
        for second in range(900):
            now += 1
            for number in range(4):
                recorder.count(failed(f"error {second % 97}", f"m{number}"), "/api/chat")
                recorder.count(finished(f"m{number}", ttft_ns=10**6 * (1 + second)), "/api/chat")

    quarter_of_an_hour()
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    quarter_of_an_hour()
    grown = tracemalloc.get_traced_memory()[0] - before
    tracemalloc.stop()
    # All buckets are new objects; the old ones, which were not traced, are gone.
    assert grown < 3_000_000
