"""Bodies of requests to llama-server: sampling, limits, grammar and stop texts."""

from __future__ import annotations

import pytest

from drover.errors import ConstraintRejected
from drover.v1 import engine_pb2 as pb
from engine_worker.engines.llamacpp.answer_grammar import GrammarSyntax
from engine_worker.engines.llamacpp.answer_modes import DroverParsedAnswer, PlainAnswer
from engine_worker.engines.llamacpp.api import JsonObject
from engine_worker.engines.llamacpp.request import GenerationLimits, chat_body, completion_body
from engine_worker.output.base import PlainText
from engine_worker.prompt.window import Window
from engine_worker.schemas.constraint import constraint_of

_IDS = [1, 2, 3]
_WINDOW = Window(size=50, truncate=True, shift=True, num_keep=0)
_WITHOUT_SHIFT = Window(size=50, truncate=True, shift=False, num_keep=0)
_LIMITS = GenerationLimits(_WINDOW, room=100)


def _body(request: pb.GenerateRequest | None = None, window: Window = _WINDOW, room: int = 100) -> JsonObject:
    return PlainAnswer().body(request or pb.GenerateRequest(), _IDS, 4, GenerationLimits(window, room))


def _with(**sampling: float) -> JsonObject:
    return _body(pb.GenerateRequest(sampling=pb.Sampling(**sampling)))  # type: ignore[arg-type]  # mypy cannot type fields in **


def test_every_stream_reports_tokens_and_progress_from_its_slot() -> None:
    body = _body()

    assert (body["prompt"], body["id_slot"]) == (_IDS, 4)
    assert body["stream"] is body["return_tokens"] is body["return_progress"] is True


def test_only_sampling_parameters_that_are_set_are_sent() -> None:
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
def test_n_predict_is_bounded_by_max_tokens_room_and_window(
    sampling: pb.Sampling, window: Window, room: int, limit: int
) -> None:
    assert _body(pb.GenerateRequest(sampling=sampling), window, room)["n_predict"] == limit


@pytest.mark.parametrize(("seed", "sent"), [(0, 0), (7, 7), (2**32, 0), (2**63 - 1, 2**32 - 1), (-1, None)])
def test_a_seed_is_32_bits_and_a_negative_one_random(seed: int, sent: int | None) -> None:
    assert _with(seed=seed).get("seed") == sent


@pytest.mark.parametrize(("penalty", "sent"), [(1.5, 1.5), (0.0, None), (-1.0, None)])
def test_only_a_positive_repeat_penalty_is_sent(penalty: float, sent: float | None) -> None:
    assert _with(repeat_penalty=penalty).get("repeat_penalty") == sent


def test_stop_texts_logit_bias_and_ignore_eos_are_sent() -> None:
    sampling = pb.Sampling(stop=["", "a"], logit_bias={7: -1.0}, ignore_eos=True)
    body = _body(pb.GenerateRequest(sampling=sampling))

    assert body["stop"] == ["a"]
    assert body["logit_bias"] == [[7, -1.0]]
    assert body["ignore_eos"] is True


@pytest.mark.parametrize(("wanted", "sent"), [(None, None), (0, 1), (3, 3)])
def test_n_probs_is_at_least_one(wanted: int | None, sent: int | None) -> None:
    assert _body(pb.GenerateRequest(top_logprobs=wanted)).get("n_probs") == sent


async def test_a_grammar_replaces_ignore_eos() -> None:
    request = pb.GenerateRequest(any_json=True, sampling=pb.Sampling(ignore_eos=True))
    constraint = await constraint_of(request, GrammarSyntax(is_gbnf=True).written)
    assert constraint is not None
    body = completion_body(request, [1], 0, _LIMITS, constraint.text)

    assert "ignore_eos" not in body
    assert str(body["grammar"]).startswith("root ::= ")


async def test_a_constraint_is_sent_as_drovers_grammar() -> None:
    assert "grammar" not in _body(pb.GenerateRequest())
    schema = '{"properties":{"city":{"type":"string"}}}'
    for request in (pb.GenerateRequest(json_schema=schema), pb.GenerateRequest(any_json=True)):
        constraint = await constraint_of(request, GrammarSyntax().written)

        assert constraint is not None
        grammar = PlainAnswer(constraint.text).body(pb.GenerateRequest(), [1], 0, _LIMITS)["grammar"]
        assert str(grammar).startswith("%llguidance {}\nstart: ")


@pytest.mark.parametrize("grammar", ["start: a", ""])
def test_a_drover_parsed_answer_has_its_own_grammar_and_no_stop_texts(grammar: str) -> None:
    request = pb.GenerateRequest(any_json=True, sampling=pb.Sampling(stop=["a"]))
    body = DroverParsedAnswer(grammar, PlainText()).body(request, [1], 0, _LIMITS)

    assert body.get("grammar", "") == grammar
    assert "stop" not in body
    assert body["timings_per_token"] is True


@pytest.mark.parametrize(("schema", "why"), [("{", "is not JSON"), ('{"type":"nonsense"}', "malformed")])
async def test_an_invalid_schema_is_rejected(schema: str, why: str) -> None:
    with pytest.raises(ConstraintRejected, match=why):
        await constraint_of(pb.GenerateRequest(json_schema=schema), GrammarSyntax().written)


@pytest.mark.parametrize(
    "request_", [pb.GenerateRequest(regex="yes|no"), pb.GenerateRequest(ebnf='root ::= "yes" | "no"')]
)
@pytest.mark.parametrize(
    ("syntax", "written"),
    [
        (GrammarSyntax(), "%llguidance {}\nstart: body\nbody: T0\nT0: /yes|no/\n\n"),
        (GrammarSyntax(is_gbnf=True), 'root ::= g0\ng0 ::= "yes" | "no"\n'),
    ],
)
async def test_regex_and_ebnf_are_written_in_the_models_language(
    request_: pb.GenerateRequest, syntax: GrammarSyntax, written: str
) -> None:
    constraint = await constraint_of(request_, syntax.written)

    assert constraint is not None
    assert constraint.text == written
    assert constraint.schema is None


def test_a_chat_body_has_the_chat_and_sampling_but_no_stop_texts() -> None:
    sampling = pb.Sampling(max_tokens=5, temperature=0, stop=["a"])
    chat: JsonObject = {"messages": [{"role": "user", "content": "Hi"}], "json_schema": {"type": "object"}}
    body = chat_body(pb.GenerateRequest(sampling=sampling, top_logprobs=0), chat, 3, 4, _LIMITS)

    assert chat.items() <= body.items()
    assert (body["id_slot"], body["n_predict"], body["temperature"], body["n_probs"]) == (4, 5, 0, 1)
    assert body["stream"] is body["return_progress"] is body["timings_per_token"] is body["verbose"] is True
    assert body.keys().isdisjoint({"stop", "prompt", "return_tokens"})
