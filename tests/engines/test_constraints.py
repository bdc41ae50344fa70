"""Regular expressions and grammars on every engine: enforced, or refused before the answer begins."""

from __future__ import annotations

import json
import re

import grpc
import pytest

from drover.errors import CapabilityMissing, ConstraintRejected
from drover.rpc import error_from_status
from drover.v1 import engine_pb2 as pb
from tests.support.engine_client import EngineClient

_LIST = 'root ::= "[" (item ("," item)*)? "]"\nitem ::= "\\"" [a-z]{1,4} "\\"" | root'


def _chat(**fields: object) -> pb.GenerateRequest:
    request = pb.GenerateRequest(sampling=pb.Sampling(temperature=0, max_tokens=60))
    request.chat.messages.add(role="user", content="Name two colours.")
    request.MergeFrom(pb.GenerateRequest(**fields))  # type: ignore[arg-type] # its fields by their names
    return request


def _has_constraints(model: pb.Model) -> bool:
    can = model.capabilities
    assert can.regex_constraint == can.ebnf_constraint
    return can.regex_constraint


@pytest.mark.parametrize(
    ("fields", "pattern"),
    [
        ({"regex": "[0-9]{3}-(red|blue)"}, "[0-9]{3}-(red|blue)"),
        ({"regex": "(yes|no)?"}, "(yes|no)?"),
        ({"ebnf": 'root ::= colour " and " colour\ncolour ::= "red" | "blue"'}, "(red|blue) and (red|blue)"),
        ({"ebnf": 'root ::= [a-zéß]{3,5} "!"'}, "[a-zéß]{3,5}!"),
        ({"ebnf": _LIST}, r"[\[\]a-z\",]*"),
    ],
    ids=str,
)
async def test_the_whole_answer_obeys(
    engine: EngineClient, model: pb.Model, fields: dict[str, object], pattern: str
) -> None:
    request = _chat(**fields)
    if not _has_constraints(model):
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await engine.text(request)
        assert isinstance(error_from_status(refused.value), CapabilityMissing)
        return
    text, done = await engine.text(request)
    assert re.fullmatch(pattern, text), text
    assert done.finish_reason == pb.Done.STOP or done.completion_tokens == 60


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"regex": "(?=a)a"}, "look-around"),
        ({"regex": "[0-9"}, "regex: "),
        ({"ebnf": "root ::= ???"}, "EBNF, line 1"),
        ({"ebnf": 'root ::= root "a" | "b"'}, "begins with itself"),
        ({"json_schema": '{"type": 5}'}, "type"),
        ({"structural_tag": '{"structures": [], "triggers": ["x"]}'}, "structural_tag: structures"),
    ],
    ids=str,
)
async def test_what_cannot_be_compiled_is_refused(
    engine: EngineClient, fields: dict[str, object], words: str
) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await engine.text(_chat(**fields))
    error = error_from_status(refused.value)
    assert isinstance(error, ConstraintRejected)
    assert words in error.message


_NUMBER = {"type": "tag", "begin": "<n>", "content": {"type": "regex", "pattern": "[0-9]{2}"}, "end": "</n>"}
_SO = {"type": "const_string", "value": "So "}
_FREE = {"type": "triggered_tags", "triggers": ["o"], "tags": [{**_NUMBER, "begin": "olive"}]}


@pytest.mark.parametrize(
    ("form", "pattern"),
    [
        ({"type": "sequence", "elements": [_SO, _NUMBER]}, "So <n>[0-9]{2}</n>"),
        # No "o" in free text: it would begin a tag.
        (_FREE, "([^o]|olive[0-9]{2}</n>)*(olive[0-9]{0,2}(</?n?)?)?"),
    ],
    ids=["a sequence", "free text"],
)
async def test_structural_tags(
    engine: EngineClient, model: pb.Model, form: dict[str, object], pattern: str
) -> None:
    if not _has_constraints(model):
        return
    try:
        text, _ = await engine.text(_chat(structural_tag=json.dumps({"format": form})))
    except grpc.aio.AioRpcError as refused:
        # llama.cpp's own grammars, which SentencePiece vocabularies need, cannot have every one.
        error = error_from_status(refused)
        assert isinstance(error, ConstraintRejected)
        assert "begin alike" in error.message
        return
    assert re.fullmatch(pattern, text, re.DOTALL), text


async def test_a_token_ends_the_answer_and_is_not_part_of_it(engine: EngineClient) -> None:
    request = _chat()
    events = [event async for event in engine.generate(request)]
    ids = [token for event in events for delta in event.deltas for token in delta.token_ids]
    # llama.cpp tells of a token within a character only when the character is whole.
    whole_ids = {delta.token_ids[-1] for event in events for delta in event.deltas if delta.content}
    stop = next(token for token in ids[2:] if token not in ids[:2] and token in whole_ids)
    before = ids[: ids.index(stop)]
    request.sampling.stop_token_ids.append(stop)
    cut = [event async for event in engine.generate(request)]
    shown = [token for event in cut for delta in event.deltas for token in delta.token_ids]

    assert shown == before
    done = cut[-1].done
    assert done.finish_reason == pb.Done.STOP
    assert done.completion_tokens == len(before) + 1
    whole = "".join(delta.content for event in events for delta in event.deltas)
    assert whole.startswith("".join(delta.content for event in cut for delta in event.deltas))


async def test_a_stop_text_is_shown_if_asked_for(engine: EngineClient) -> None:
    request = _chat()
    whole, _ = await engine.text(request)
    stop = whole.strip()[2:6]
    request.sampling.stop.append(stop)
    cut, done = await engine.text(request)
    assert done.matched_stop == stop
    request.sampling.include_stop = True
    shown, done = await engine.text(request)

    assert done.matched_stop == stop
    assert shown == cut + stop


async def test_a_minimum_of_tokens_is_kept_or_named(engine: EngineClient) -> None:
    request = _chat()
    request.sampling.max_tokens, request.sampling.min_tokens = 60, 50
    request.chat.messages[0].content = "Say yes."
    events = [event async for event in engine.generate(request)]

    is_named = "min_tokens" in events[0].started.not_honoured
    assert is_named or events[-1].done.completion_tokens >= 50


async def test_the_prompt_may_end_without_an_answers_beginning(engine: EngineClient) -> None:
    request = pb.GenerateRequest()
    request.chat.messages.add(role="user", content="Hi")
    usual = await engine.stub.Render(pb.RenderRequest(request=request))
    request.chat.no_generation_prompt = True
    open_ended = await engine.stub.Render(pb.RenderRequest(request=request))

    assert usual.text.startswith(open_ended.text.rstrip())
    assert "assistant" in usual.text.partition("Hi")[2]
    assert "assistant" not in open_ended.text.partition("Hi")[2]
