"""The table of the extensions says for each engine what it does: honours a field, names it, or refuses it."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest

from drover.errors import CapabilityMissing
from drover.v1 import engine_pb2 as pb
from engine_worker.engines.llamacpp.prompt import lacking
from engine_worker.engines.sglang.prompt import Limits, Prompt
from engine_worker.engines.sglang.request import EngineRequest, RequestBuilder, skips_special_tokens
from engine_worker.prompt.window import Fitted
from engine_worker.schemas.constraint import Constraint
from engine_worker.schemas.schema_to_grammar import Grammar
from frontend.api.core.typed_fields import FieldPath
from frontend.api.openai.extras.fields import Extras
from frontend.api.openai.extras.table import EXTRAS, NAMED, REFUSED, YES, Extra
from frontend.routing.backends.ollama.body import not_honoured, route_and_body
from tests.unit.engine_worker.engines.simulator.harness import FAST, answer, running

# What the frontend's own code honours on every engine.
_EVERYWHERE = {
    "session_id", "rid", "request_id", "include_reasoning", "separate_reasoning", "stream_reasoning",
    "thinking", "continue_final_message", "response_format",
}  # fmt: skip
_EACH = pytest.mark.parametrize(
    "extra", [extra for extra in EXTRAS if extra.name not in _EVERYWHERE], ids=lambda extra: extra.name
)


def _request(extra: Extra) -> pb.GenerateRequest:
    value = extra.kind.read(cast(Any, extra.sample), FieldPath("Request", extra.name))
    extras = Extras.take({extra.name: value}, extra.routes[0])
    request = pb.GenerateRequest(request_id="1" * 32, sampling=pb.Sampling(temperature=0, max_tokens=3))
    request.chat.messages.add(role="user", content="x")
    for name, option in extras.options({}).items():
        setattr(request.sampling, name, option)
    extras.set_in(request, "caller")
    if extras.format is not None:
        request.any_json = True
    request.priority = extras.priority or 0
    return request


def _expected(extra: Extra, engine: str) -> list[str]:
    assert extra.at(engine).partition("; ")[0] in (YES, NAMED)
    return [extra.named_as or extra.name] if extra.at(engine) == NAMED else []


@_EACH
def test_ollama_servers(extra: Extra) -> None:
    request = _request(extra)
    if extra.at("ollama") == REFUSED:
        with pytest.raises(CapabilityMissing):
            route_and_body(request, "m")
        return
    assert route_and_body(request, "m")
    assert not_honoured(request) == _expected(extra, "ollama")


@_EACH
async def test_the_simulator(extra: Extra) -> None:
    async with running(FAST) as engine:
        if extra.at("simulator") == REFUSED:
            with pytest.raises(CapabilityMissing):
                await answer(engine, _request(extra))
            return
        given = await answer(engine, _request(extra))
    assert list(given.started.not_honoured) == _expected(extra, "simulator")


@_EACH
def test_llamacpp(extra: Extra) -> None:
    assert lacking(_request(extra)) == _expected(extra, "llamacpp")


@_EACH
def test_sglang(extra: Extra) -> None:
    built = _built(_request(extra))
    # Without a reason of the engine's own; it looks at the whole answer only.
    assert [name for name in built.not_honoured if name != "repeat_last_n"] == _expected(extra, "sglang")


def _built(request: pb.GenerateRequest, constraint: Constraint | None = None) -> EngineRequest:
    loaded = SimpleNamespace(
        can_seed=False,
        vocabulary=SimpleNamespace(size=100),
        takes_grammars=True,
        has_priorities=True,
        can_resume_constraint=True,
        resumed=lambda constraint, produced: constraint,
    )
    rendered = SimpleNamespace(thinking_refused=False, stop=[], skip_special_tokens=True, thinks=False)
    ids = list(request.continuation.prompt_ids) or [1, 2]
    prompt = Prompt(cast(Any, rendered), Fitted(ids, 0, None))
    return RequestBuilder(cast(Any, loaded), Limits(64, 63)).build(request, prompt, constraint)


def test_sglangs_parameters_in_a_new_and_in_a_resumed_answer() -> None:
    request = pb.GenerateRequest(request_id="1" * 32, cache_salt="s", priority=3)
    request.sampling.MergeFrom(
        pb.Sampling(min_tokens=5, max_tokens=9, stop_token_ids=[7, 8], show_special_tokens=True)
    )
    new = _built(request).sglang
    request.continuation.MergeFrom(pb.Continuation(prompt_ids=[1, 2], produced_ids=[3, 4, 5]))
    resumed = _built(request).sglang

    assert new["sampling_params"]["min_new_tokens"] == 5
    assert resumed["sampling_params"]["min_new_tokens"] == 2
    assert (new["priority"], new["cache_salt"]) == (3, "s")
    for each in (new, resumed):
        assert each["sampling_params"]["stop_token_ids"] == [7, 8]
        assert each["sampling_params"]["skip_special_tokens"] is False


def test_what_keeps_an_answer_from_its_end_is_named_under_a_constraint() -> None:
    request = pb.GenerateRequest(regex="a+", sampling=pb.Sampling(min_tokens=5, ignore_eos=True))
    built = _built(request, Constraint(Grammar({}), text="root ::= [a]+"))

    assert built.not_honoured == ["min_tokens", "ignore_eos"]
    assert "min_new_tokens" not in built.sglang["sampling_params"]
    assert lacking(request) == ["ignore_eos"]


def test_a_minimum_above_the_room_is_lowered() -> None:
    request = pb.GenerateRequest(sampling=pb.Sampling(min_tokens=500))
    assert _built(request).sglang["sampling_params"]["min_new_tokens"] == 62


def test_special_tokens_that_a_template_needs_stay_shown() -> None:
    rendered = SimpleNamespace(skip_special_tokens=False)
    assert not skips_special_tokens(pb.GenerateRequest(), cast(Any, rendered))


@pytest.mark.parametrize(("continues", "names"), [(True, []), (False, ["continue_final_message"])])
def test_a_new_turn_after_an_assistants_is_named_where_there_is_none(
    continues: bool, names: list[str]
) -> None:
    request = pb.GenerateRequest()
    request.chat.messages.add(role="assistant", content="Once")
    request.chat.continue_last = continues

    assert lacking(request) == names
    assert not_honoured(request) == names
