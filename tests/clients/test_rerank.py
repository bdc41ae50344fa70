"""Clients that rerank: litellm's providers for Cohere, Jina and vLLM, and Cohere's own SDK, against a
simulator that reranks.
"""

from __future__ import annotations

from collections.abc import Iterator

import cohere
import litellm
import pytest

from tests.support.processes import Stack, stack

MODEL = "ranker"
QUERY = "what do sheep eat"
DOCUMENTS = ["a red car is fast", "sheep eat grass", "the dog runs"]
BEST = 1


@pytest.fixture(scope="module")
def ranker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    flags = ("--engine", "simulator", "--model", MODEL, "--task", "rerank")
    with stack(tmp_path_factory.mktemp("ranker"), flags) as running:
        yield running


@pytest.mark.parametrize(
    ("provider", "part", "count"),
    [
        ("cohere", "tokens", "input_tokens"),
        ("jina_ai", "billed_units", "total_tokens"),
        ("hosted_vllm", "tokens", "input_tokens"),
    ],
)
def test_litellm(ranker: Stack, provider: str, part: str, count: str) -> None:
    answer = litellm.rerank(
        model=f"{provider}/{MODEL}",
        query=QUERY,
        documents=DOCUMENTS,
        top_n=2,
        return_documents=True,
        api_base=ranker.url,
        api_key="none",
    )
    assert answer.results[0]["index"] == BEST
    assert len(answer.results) == 2
    assert answer.results[0]["document"] == {"text": DOCUMENTS[BEST]}
    first, second = (each["relevance_score"] for each in answer.results)
    assert 1 > first > second > 0
    assert answer.meta is not None
    assert answer.meta[part][count] > 0


async def test_litellm_without_documents(ranker: Stack) -> None:
    answer = await litellm.arerank(
        model=f"jina_ai/{MODEL}",
        query=QUERY,
        documents=DOCUMENTS,
        return_documents=False,
        api_base=ranker.url,
        api_key="none",
    )
    assert [each.get("document") for each in answer.results] == [None] * 3


def test_litellm_sees_an_unknown_model(ranker: Stack) -> None:
    with pytest.raises(litellm.exceptions.NotFoundError, match="model 'nope' not found"):
        litellm.rerank(
            model="hosted_vllm/nope", query=QUERY, documents=DOCUMENTS, api_base=ranker.url, api_key="none"
        )


def test_coheres_second_version(ranker: Stack) -> None:
    with cohere.ClientV2(api_key="none", base_url=ranker.url) as client:
        answer = client.rerank(model=MODEL, query=QUERY, documents=DOCUMENTS, top_n=2, max_tokens_per_doc=100)
    assert answer.results[0].index == BEST
    assert len(answer.results) == 2
    assert answer.meta is not None
    assert answer.meta.billed_units is not None
    assert answer.meta.billed_units.search_units == 1


def test_coheres_first_version(ranker: Stack) -> None:
    with cohere.Client(api_key="none", base_url=ranker.url) as client:
        answer = client.rerank(
            model=MODEL,
            query=QUERY,
            documents=[{"title": "-", "text": text} for text in DOCUMENTS],
            rank_fields=["text"],
            return_documents=True,
        )
    assert answer.results[0].index == BEST
    assert answer.results[0].document is not None
    assert answer.results[0].document.text == DOCUMENTS[BEST]


def test_cohere_sees_what_is_wrong(ranker: Stack) -> None:
    with (
        cohere.ClientV2(api_key="none", base_url=ranker.url) as client,
        pytest.raises(cohere.BadRequestError) as failed,
    ):
        client.rerank(model=MODEL, query=" ", documents=DOCUMENTS)
    assert failed.value.body == {"message": "Query cannot be empty or whitespace only"}
    with (
        cohere.ClientV2(api_key="none", base_url=ranker.url) as client,
        pytest.raises(cohere.NotFoundError) as missing,
    ):
        client.rerank(model="nope", query=QUERY, documents=DOCUMENTS)
    assert missing.value.body == {"message": "model 'nope' not found"}
