"""What llama-server is asked for."""

from __future__ import annotations

import pytest

from drover.errors import CapabilityMissing, ConstraintRejected
from drover.v1 import engine_pb2 as pb
from engine_worker.engines.llamacpp.answer_grammar import Syntax
from engine_worker.engines.llamacpp.api import Json
from engine_worker.engines.llamacpp.body import (
    chat_body,
    completion_body,
    read_constraint,
)
from engine_worker.prompt.window import Window

_IDS = [1, 2, 3]
_WINDOW = Window(size=50, truncate=True, shift=True, num_keep=0)
_WITHOUT_SHIFT = Window(size=50, truncate=True, shift=False, num_keep=0)


def _body(request: pb.GenerateRequest | None = None, window: Window = _WINDOW, room: int = 100) -> Json:
    return completion_body(request or pb.GenerateRequest(), _IDS, 4, window, room)


def _with(**sampling: float) -> Json:
    return _body(pb.GenerateRequest(sampling=pb.Sampling(**sampling)))  # type: ignore[arg-type]


def test_every_stream_reports_tokens_and_progress_from_its_slot() -> None:
    body = _body()

    assert (body["prompt"], body["id_slot"]) == (_IDS, 4)
    assert body["stream"] is body["return_tokens"] is body["return_progress"] is body["cache_prompt"] is True


def test_unset_scalars_are_left_to_the_engine_and_set_ones_go_along() -> None:
    assert "temperature" not in _body()
    body = _with(temperature=0, top_k=0, top_p=0.5, min_p=0, typical_p=1, repeat_last_n=0)

    assert (body["temperature"], body["top_k"], body["top_p"], body["repeat_last_n"]) == (0, 0, 0.5, 0)


@pytest.mark.parametrize(
    ("sampling", "window", "room", "limit"),
    [
        (pb.Sampling(), _WINDOW, 100, 100),
        (pb.Sampling(max_tokens=5), _WINDOW, 100, 5),
        (pb.Sampling(max_tokens=500), _WINDOW, 100, 100),
        (pb.Sampling(max_tokens=500), _WITHOUT_SHIFT, 100, 47),
        (pb.Sampling(), _WITHOUT_SHIFT, 10, 10),
        (pb.Sampling(), _WINDOW, 0, 1),
    ],
)
def test_how_long_an_answer_may_be(sampling: pb.Sampling, window: Window, room: int, limit: int) -> None:
    assert _body(pb.GenerateRequest(sampling=sampling), window, room)["n_predict"] == limit


@pytest.mark.parametrize(("seed", "sent"), [(0, 0), (7, 7), (2**32, 0), (2**63 - 1, 2**32 - 1), (-1, None)])
def test_a_seed_is_32_bits_and_a_negative_one_random(seed: int, sent: int | None) -> None:
    assert _with(seed=seed).get("seed") == sent


@pytest.mark.parametrize(("penalty", "sent"), [(1.5, 1.5), (0.0, None), (-1.0, None)])
def test_only_a_positive_penalty_means_something(penalty: float, sent: float | None) -> None:
    assert _with(repeat_penalty=penalty).get("repeat_penalty") == sent


def test_the_rest_of_sampling() -> None:
    sampling = pb.Sampling(stop=["", "a"], logit_bias={7: -1.0}, ignore_eos=True)
    body = _body(pb.GenerateRequest(sampling=sampling))

    assert body["stop"] == ["a"]
    assert body["logit_bias"] == [[7, -1.0]]
    assert body["ignore_eos"] is True


@pytest.mark.parametrize(("wanted", "sent"), [(None, None), (0, 1), (3, 3)])
def test_probabilities_are_asked_for_with_at_least_one_alternative(
    wanted: int | None, sent: int | None
) -> None:
    assert _body(pb.GenerateRequest(top_logprobs=wanted)).get("n_probs") == sent


def test_a_salted_request_shares_no_cache() -> None:
    assert _body(pb.GenerateRequest(cache_salt="mine"))["cache_prompt"] is False


async def test_the_grammar_says_where_an_answer_ends() -> None:
    request = pb.GenerateRequest(any_json=True, sampling=pb.Sampling(ignore_eos=True))
    constraint = await read_constraint(request, Syntax(is_gbnf=True))
    body = completion_body(request, [1], 0, _WINDOW, 100, constraint)

    assert "ignore_eos" not in body
    assert str(body["grammar"]).startswith("root ::= ")


async def test_a_constraint_is_a_grammar_of_ours() -> None:
    assert "grammar" not in _body(pb.GenerateRequest())
    schema = '{"properties":{"city":{"type":"string"}}}'
    for request in (pb.GenerateRequest(json_schema=schema), pb.GenerateRequest(any_json=True)):
        constraint = await read_constraint(request, Syntax())

        grammar = completion_body(pb.GenerateRequest(), [1], 0, _WINDOW, 100, constraint)["grammar"]
        assert str(grammar).startswith("%llguidance {}\nstart: ")


@pytest.mark.parametrize("grammar", ["start: a", ""])
async def test_an_answer_that_we_parse_has_its_own_grammar_and_no_stop_texts(grammar: str) -> None:
    constraint = await read_constraint(pb.GenerateRequest(any_json=True), Syntax())
    request = pb.GenerateRequest(sampling=pb.Sampling(stop=["a"]))
    body = completion_body(request, [1], 0, _WINDOW, 100, constraint, grammar)

    assert body.get("grammar", "") == grammar
    assert "stop" not in body
    assert body["timings_per_token"] is True


@pytest.mark.parametrize(("schema", "why"), [("{", "is not JSON"), ('{"type":"nonsense"}', "malformed")])
async def test_a_schema_that_cannot_work_is_refused(schema: str, why: str) -> None:
    with pytest.raises(ConstraintRejected, match=why):
        await read_constraint(pb.GenerateRequest(json_schema=schema), Syntax())


@pytest.mark.parametrize("request_", [pb.GenerateRequest(regex="a"), pb.GenerateRequest(ebnf="a")])
async def test_constraints_that_the_engine_does_not_know(request_: pb.GenerateRequest) -> None:
    with pytest.raises(CapabilityMissing):
        await read_constraint(request_, Syntax())


def test_a_chat_has_its_messages_and_everything_but_stop_texts() -> None:
    sampling = pb.Sampling(max_tokens=5, temperature=0, stop=["a"])
    turn: Json = {"messages": [{"role": "user", "content": "Hi"}], "json_schema": {"type": "object"}}
    body = chat_body(pb.GenerateRequest(sampling=sampling, top_logprobs=0), turn, 3, 4, _WINDOW, 100)

    assert turn.items() <= body.items()
    assert (body["id_slot"], body["n_predict"], body["temperature"], body["n_probs"]) == (4, 5, 0, 1)
    assert body["stream"] is body["return_progress"] is body["timings_per_token"] is body["verbose"] is True
    assert body.keys().isdisjoint({"stop", "prompt", "return_tokens"})
