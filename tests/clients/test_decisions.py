"""Decisions by the newest clients of every shape: ollama, openai, litellm, TypeSafe's own."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import litellm
import ollama
import openai
import pytest
import typesafe_sdk
from openai import AsyncOpenAI, OpenAI

from tests.clients.fleet import CHARGED_TWICE, SMOL, THINKER, VECTORS, Fleet

_TIMEOUT_SECONDS = 60
_STATE = f"Customer: {CHARGED_TWICE}"
_QUESTIONS: dict[str, dict[str, Any]] = {
    "refund": {"type": "noul", "instructions": "The customer asks for a refund."},
    "team": {
        "type": "choice",
        "instructions": "Which team should answer?",
        "criteria": {"billing": "payments and refunds", "shipping": None},
    },
    "urgency": {
        "type": "score",
        "instructions": "How urgent is it?",
        "criteria": ["can wait", "soon", "now"],
    },
}
_OPENAI_QUESTIONS: list[dict[str, Any]] = [
    {"type": "predicate", "instructions": "The customer asks for a refund."},
    {
        "type": "choice",
        "name": "team",
        "instructions": "Which team should answer?",
        "choices": [{"value": "billing", "description": "payments and refunds"}, {"value": "shipping"}],
    },
    {
        "type": "score",
        "instructions": "How urgent is it?",
        "levels": [{"label": "can wait"}, {"label": "soon"}, {"label": "now"}],
    },
]
_REFUND, _SHIPPING = 0.75, 0.875
_ENTROPY, _CHOICE_CONFIDENCE = 0.456436, 0.75


def _is_scripted(refund: float, team: str, share: float, level: float) -> None:
    assert refund == pytest.approx(_REFUND, abs=1e-6)
    assert team == "shipping"
    assert share == pytest.approx(_SHIPPING, abs=1e-6)
    assert level == pytest.approx(1.0, abs=1e-6)


def _of_each(answers: Mapping[str, Any]) -> tuple[Any, ...]:
    return tuple(answers[name] for name in _QUESTIONS)


def test_ollama(fleet: Fleet) -> None:
    with ollama.Client(host=fleet.url, timeout=_TIMEOUT_SECONDS) as client:
        answer = client.systemone(THINKER, _STATE, _QUESTIONS, keep_alive="5m")
    refund, team, urgency = _of_each(answer.answers)
    _is_scripted(refund.noul, team.choice, team.probabilities["shipping"], urgency.score)
    assert team.confidence == pytest.approx(_ENTROPY, abs=1e-5)
    assert urgency.legend == {"0": "can wait", "1": "soon", "2": "now"}
    assert (answer.model, answer.usage.output_tokens) == (THINKER, 0)
    assert answer.usage.input_tokens > 0


async def test_ollama_asynchronously_with_a_real_model(fleet: Fleet) -> None:
    async with ollama.AsyncClient(host=fleet.url, timeout=_TIMEOUT_SECONDS) as client:
        answer = await client.systemone(SMOL, {"customer": CHARGED_TWICE}, _QUESTIONS)
        shown = await client.show(SMOL)
    refund, team, _ = _of_each(answer.answers)
    assert sum(team.probabilities.values()) == pytest.approx(1)
    assert 0 < refund.noul < 1
    assert "decision" in (shown.capabilities or ())


def test_ollama_gets_ollamas_errors(fleet: Fleet) -> None:
    with ollama.Client(host=fleet.url, timeout=_TIMEOUT_SECONDS) as client:
        with pytest.raises(ollama.ResponseError, match="does not support decision") as refused:
            client.systemone(VECTORS, _STATE, _QUESTIONS)
        with pytest.raises(ollama.ResponseError, match="not found") as missing:
            client.systemone("nowhere", _STATE, _QUESTIONS)
    assert refused.value.status_code == 400
    assert missing.value.status_code == 404


def test_openai(fleet: Fleet) -> None:
    with OpenAI(base_url=f"{fleet.url}/v1", api_key="none", timeout=_TIMEOUT_SECONDS) as client:
        answer = client.decisions.create(model=THINKER, input=_STATE, questions=_OPENAI_QUESTIONS)
    refund, team, urgency = answer.answers
    shares = {each.value: each.probability for each in team.probabilities}
    _is_scripted(refund.probability, team.choice, shares["shipping"], urgency.score)
    assert team.confidence == pytest.approx(_CHOICE_CONFIDENCE, abs=1e-6)
    assert (refund.name, team.name) == (None, "team")
    assert (
        answer.usage.total_tokens
        == answer.usage.input_tokens
        > answer.usage.input_tokens_details.cached_tokens
    )


async def test_openai_asynchronously_with_a_conversation(fleet: Fleet) -> None:
    async with AsyncOpenAI(base_url=f"{fleet.url}/v1", api_key="none", timeout=_TIMEOUT_SECONDS) as client:
        answer = await client.decisions.create(
            model=THINKER,
            input=[
                {"role": "user", "content": [{"type": "input_text", "text": CHARGED_TWICE}]},
                {"role": "assistant", "content": "I will look into it."},
            ],
            questions=_OPENAI_QUESTIONS[:1],
        )
    assert answer.answers[0].probability == pytest.approx(_REFUND, abs=1e-6)


def test_openai_gets_openais_errors(fleet: Fleet) -> None:
    with OpenAI(base_url=f"{fleet.url}/v1", api_key="none", max_retries=0) as client:
        with pytest.raises(openai.BadRequestError, match="questions must be a list"):
            client.decisions.create(model=THINKER, input=_STATE, questions=[])
        with pytest.raises(openai.NotFoundError) as missing:
            client.decisions.create(model="nowhere", input=_STATE, questions=_OPENAI_QUESTIONS)
    assert missing.value.code == "model_not_found"


# Of litellm's own types, when it builds their validators.
@pytest.mark.filterwarnings("ignore:Items? .* on TypedDict class:UserWarning")
def test_litellm_over_both_routes(fleet: Fleet) -> None:
    answer = litellm.systemone(
        model=f"ollama/{THINKER}",
        state=_STATE,
        questions=_QUESTIONS,
        api_base=fleet.url,
        timeout=_TIMEOUT_SECONDS,
    )
    refund, team, urgency = _of_each(answer.answers)
    _is_scripted(refund.noul, team.choice, team.probabilities["shipping"], urgency.score)
    # The provider of vLLM turns OpenAI's request into one of /v1/systemone.
    for provider in ("openai", "hosted_vllm"):
        decided = litellm.decisions(
            model=f"{provider}/{THINKER}",
            input=_STATE,
            questions=_OPENAI_QUESTIONS,
            api_base=f"{fleet.url}/v1",
            api_key="none",
            timeout=_TIMEOUT_SECONDS,
        )
        assert decided.answers[0].probability == pytest.approx(_REFUND, abs=1e-6)
        assert decided.answers[1].choice == "shipping"


def test_typesafe(fleet: Fleet) -> None:
    with typesafe_sdk.TypeSafeClient(
        api_key="none", base_url=fleet.url, model=THINKER, retry=typesafe_sdk.RetryPolicy(max_retries=0)
    ) as client:
        answer = client.system_one(state=_STATE, questions=_QUESTIONS)
    team = answer.choices["team"]
    _is_scripted(
        answer.nouls["refund"].noul,
        team.choice,
        team.probabilities["shipping"],
        answer.scores["urgency"].score,
    )
