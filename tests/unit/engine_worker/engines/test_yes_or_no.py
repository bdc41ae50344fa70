"""Rerankers that generate."""

from __future__ import annotations

import asyncio
import math

import pytest

from drover.v1 import engine_pb2 as pb
from engine_worker.engines.label_scores import MAX_ITEMS
from engine_worker.engines.yes_or_no import YesOrNoReranker, as_chat, as_text, asks_yes_or_no

_QWEN = 'Judge whether the Document meets the Query. Note that the answer can only be "yes" or "no".'
_TEMPLATE_TOKENS = 7


class Engine:
    """A token for each character; a document with an `x` is likely, one with a `-` impossible."""

    def __init__(self) -> None:
        self.requests: list[pb.ScoreRequest] = []

    async def tokenize(self, text: str, add_special: bool) -> list[int]:
        return [ord(character) for character in text]

    async def detokenize(self, ids: list[int]) -> str:
        return "".join(map(chr, ids))

    async def score(self, request: pb.ScoreRequest) -> pb.ScoreResponse:
        self.requests.append(request)
        response = pb.ScoreResponse()
        for item in request.items:
            texts = [message.content for message in item.chat.messages] or [item.raw]
            yes = -math.inf if "-" in texts[-1] else math.log(0.3 if "x" in texts[-1] else 0.1)
            no = -math.inf if "-" in texts[-1] else math.log(0.1)
            response.results.add(logprobs=[yes, no], label_ids=[1, 2])
            response.prompt_tokens += sum(map(len, texts)) + _TEMPLATE_TOKENS
        return response


async def _reranker(engine: Engine) -> YesOrNoReranker:
    return await YesOrNoReranker.of(engine.score, as_chat, engine, 100, takes_instruction=False)


@pytest.mark.parametrize(
    ("template", "is_reranker"),
    [(_QWEN, True), (_QWEN.upper(), True), ("{{ messages }}", False), ("answer can only be yes", False)],
)
def test_a_rerankers_template_is_recognised(template: str, is_reranker: bool) -> None:
    assert asks_yes_or_no(template) is is_reranker


async def test_the_score_is_the_share_of_yes() -> None:
    engine = Engine()
    response = await (await _reranker(engine)).rerank(
        pb.RerankRequest(request_id="r", queries=["q"], documents=["a", "x", "-"])
    )

    assert list(response.scores) == pytest.approx([0.5, 0.75, 0.0])
    assert response.prompt_tokens == 3 * (2 + _TEMPLATE_TOKENS)
    (request,) = engine.requests[1:]
    assert [list(item.labels) for item in request.items] == [["yes", "no"]] * 3
    assert [message.content for message in request.items[1].chat.messages] == ["q", "x"]


async def test_many_documents_take_several_calls() -> None:
    engine = Engine()
    documents = ["a"] * (MAX_ITEMS + 1)
    response = await (await _reranker(engine)).rerank(
        pb.RerankRequest(request_id="r", queries=["q"], documents=documents)
    )

    assert len(response.scores) == len(documents)
    assert [(each.request_id, len(each.items)) for each in engine.requests[1:]] == [
        ("r.0", MAX_ITEMS),
        ("r.1", 1),
    ]


async def test_documents_are_cut_to_the_room_that_the_template_leaves() -> None:
    engine = Engine()
    response = await (await _reranker(engine)).rerank(
        pb.RerankRequest(request_id="r", queries=["q"], documents=["a" * 200])
    )
    assert (response.prompt_tokens, response.truncated_tokens) == (100, 200 - (100 - _TEMPLATE_TOKENS - 1))


async def test_an_instruction_goes_where_the_template_has_a_place() -> None:
    engine = Engine()
    asked: list[tuple[str, str, str]] = []

    def ask(query: str, document: str, instruction: str) -> pb.ScoreItem:
        asked.append((query, document, instruction))
        return as_text(f"{query} {document}")

    reranker = await YesOrNoReranker.of(engine.score, ask, engine, 100, takes_instruction=True)
    response = await reranker.rerank(
        pb.RerankRequest(request_id="r", queries=["q"], documents=["a"], instruction="judge")
    )
    assert asked[1:] == [("q", "a", "judge")]
    assert list(response.not_honoured) == []


async def test_other_requests_go_on_between_the_documents() -> None:
    engine, running = Engine(), 0
    when: list[int] = []

    def ask(query: str, document: str, instruction: str) -> pb.ScoreItem:
        when.append(running)
        return as_chat(query, document, instruction)

    async def run() -> None:
        nonlocal running
        while True:
            running += 1
            await asyncio.sleep(0)

    other = asyncio.create_task(run())
    try:
        reranker = await YesOrNoReranker.of(engine.score, ask, engine, 100, takes_instruction=False)
        await reranker.rerank(pb.RerankRequest(queries=["q"], documents=["a"] * 20))
    finally:
        other.cancel()
    assert len(set(when[1:])) == 20


async def test_its_adapter_scores() -> None:
    engine = Engine()
    reranker = await _reranker(engine)
    await reranker.rerank(pb.RerankRequest(queries=["q"], documents=["a"], adapter="d"))

    assert engine.requests[-1].adapter == "d"
