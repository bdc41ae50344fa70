"""The work of requests: sizes of prompts before they are tokenised, estimates, and what is learned."""

from __future__ import annotations

import pytest

from drover.v1 import engine_pb2 as pb
from frontend.routing.work import (
    PromptSize,
    Work,
    size_of_classification,
    size_of_embedding,
    size_of_generation,
    size_of_rerank,
    size_of_scores,
)
from frontend.routing.work_estimate import EstimateRequest, WorkEstimator

_IMAGE = pb.Media(data=b"x" * 100_000)
_TEXT = "word " * 800


@pytest.mark.parametrize(
    ("request_", "text_bytes", "images", "token_ids"),
    [
        (pb.GenerateRequest(raw=_TEXT), 4000, 0, 0),
        (pb.GenerateRequest(tokens=pb.TokenIds(ids=[1] * 70)), 0, 0, 70),
        (
            pb.GenerateRequest(
                prompt=pb.PromptInput(
                    text=_TEXT, system=_TEXT, suffix=_TEXT, context=[1] * 5, images=[_IMAGE]
                )
            ),
            12000,
            1,
            5,
        ),
        (
            pb.GenerateRequest(
                chat=pb.ChatInput(
                    messages=[
                        pb.Message(role="user", content=_TEXT, images=[_IMAGE, _IMAGE]),
                        pb.Message(role="assistant", content=_TEXT, thinking=_TEXT),
                    ]
                )
            ),
            12000,
            2,
            0,
        ),
        (pb.GenerateRequest(), 0, 0, 0),
    ],
)
def test_the_size_of_a_prompt(
    request_: pb.GenerateRequest, text_bytes: int, images: int, token_ids: int
) -> None:
    assert size_of_generation(request_) == PromptSize(text_bytes, images, token_ids)


def test_the_size_of_a_chat_is_about_that_of_its_texts() -> None:
    tool = pb.Tool(name="f", description=_TEXT, parameters_json=_TEXT)
    chat = pb.ChatInput(messages=[pb.Message(role="user", content=_TEXT)] * 10, tools=[tool])

    size = size_of_generation(pb.GenerateRequest(chat=chat))

    assert 48_000 <= size.text_bytes <= 48_000 * 1.01


def test_the_sizes_of_other_prompts() -> None:
    chat = pb.ChatInput(messages=[pb.Message(role="user", content=_TEXT)])
    items = [pb.ScoreItem(raw=_TEXT), pb.ScoreItem(tokens=pb.TokenIds(ids=[1, 2])), pb.ScoreItem(chat=chat)]
    scores = size_of_scores(pb.ScoreRequest(items=items))

    assert 8000 < scores.text_bytes < 8050
    assert scores.token_ids == 2
    assert size_of_embedding(pb.EmbedRequest(texts=[_TEXT, _TEXT])) == PromptSize(8000)
    # One query is read with each of the documents.
    one = pb.RerankRequest(queries=["1234"], documents=["ab"] * 3)
    assert size_of_rerank(one) == PromptSize(3 * 4 + 3 * 2)
    each = pb.RerankRequest(queries=["1234"] * 3, documents=["ab"] * 3)
    assert size_of_rerank(each) == PromptSize(3 * 4 + 3 * 2)
    inputs = [pb.ClassifyInput(text="abc"), pb.ClassifyInput(tokens=pb.TokenIds(ids=[1, 2]))]
    assert size_of_classification(pb.ClassifyRequest(inputs=inputs)) == PromptSize(3, 0, 2)


def test_cost_is_of_what_is_computed() -> None:
    assert Work(1000, 900, 10).cost == 100 + 2 * 10
    assert Work(1000, 1000).cost == 1
    assert Work(10, 20).prefill_tokens == 0


def _learn(estimator: WorkEstimator, asked: EstimateRequest, work: Work, times: int = 30) -> None:
    for _ in range(times):
        estimator.learn(asked, work)


def test_characters_become_tokens_as_in_settled_requests() -> None:
    estimator = WorkEstimator()
    asked = EstimateRequest("a", PromptSize(60_000))
    assert estimator.estimate(asked).prompt_tokens == 15_000
    _learn(estimator, asked, Work(30_000))

    assert estimator.estimate(EstimateRequest("b", PromptSize(600))).prompt_tokens == pytest.approx(
        300, rel=0.01
    )


def test_short_prompts_and_images_teach_no_tokens_per_byte_and_truncated_prompts_count_whole() -> None:
    estimator = WorkEstimator()
    _learn(estimator, EstimateRequest("a", PromptSize(20)), Work(30))
    _learn(estimator, EstimateRequest("a", PromptSize(4000, images=1)), Work(9000))
    _learn(estimator, EstimateRequest("a", PromptSize(400_000)), Work(8192, truncated_tokens=100_000 - 8192))

    assert estimator.estimate(EstimateRequest("b", PromptSize(4000))).prompt_tokens == pytest.approx(1000)


def test_one_client_cannot_teach_more_than_is_possible() -> None:
    estimator = WorkEstimator()
    _learn(estimator, EstimateRequest("a", PromptSize(10_000_000)), Work(1), times=1000)

    assert estimator.estimate(EstimateRequest("b", PromptSize(16_000))).prompt_tokens == pytest.approx(1000)


def test_generated_tokens_are_those_that_the_client_usually_gets_and_at_most_what_it_asks_for() -> None:
    estimator = WorkEstimator()
    asked = EstimateRequest("talkative", PromptSize(100))
    _learn(estimator, asked, Work(25, generated_tokens=4000))

    assert estimator.estimate(asked).generated_tokens == pytest.approx(4000, rel=0.01)
    limited = EstimateRequest("talkative", PromptSize(100), most_generated=16)
    assert estimator.estimate(limited).generated_tokens == 16
    assert estimator.estimate(EstimateRequest("new", PromptSize(100))).generated_tokens > 1000


def test_calls_that_generate_nothing_do_not_teach_that_answers_are_empty() -> None:
    estimator = WorkEstimator()
    before = estimator.estimate(EstimateRequest("new", PromptSize(100))).generated_tokens
    _learn(estimator, EstimateRequest("a", PromptSize(100), most_generated=0), Work(25))

    assert estimator.estimate(EstimateRequest("new", PromptSize(100))).generated_tokens == before


def test_a_prompt_that_begins_like_an_earlier_one_is_expected_to_be_cached_as_far_as_that() -> None:
    estimator = WorkEstimator()
    first = EstimateRequest("a", PromptSize(40_000), b"key")
    assert estimator.estimate(first).cached_tokens == 0
    _learn(estimator, first, Work(10_000, 0, 200), times=1)

    assert estimator.estimate(EstimateRequest("a", PromptSize(44_000), b"key")).cached_tokens == 10_200
    assert estimator.estimate(EstimateRequest("a", PromptSize(4_000), b"key")).cached_tokens == 1_000


def test_prompts_that_differ_after_a_common_beginning_are_not_expected_to_be_cached_again() -> None:
    estimator = WorkEstimator()
    asked = EstimateRequest("a", PromptSize(40_000), b"key")
    for _ in range(3):
        estimator.learn(asked, Work(10_000, 500))

    assert 0 < estimator.estimate(asked).cached_tokens <= 500
    estimator.learn(asked, Work(10_400, 10_000))
    assert estimator.estimate(asked).cached_tokens > 8_000


def test_prompts_that_have_left_the_cache_are_not_expected_there() -> None:
    estimator = WorkEstimator()
    for number in range(10):
        asked = EstimateRequest("a", PromptSize(40_000), b"%d" % number)
        estimator.learn(asked, Work(10_000), cache_tokens=50_000)

    cached = [
        estimator.estimate(EstimateRequest("b", PromptSize(40_000), b"%d" % number)).cached_tokens > 0
        for number in range(10)
    ]
    assert cached == [False] * 5 + [True] * 5


def test_a_client_whose_prompts_were_not_cached_as_expected_is_expected_to_compute_more() -> None:
    estimator = WorkEstimator()
    for _ in range(2):
        for number in range(20):
            estimator.learn(EstimateRequest("a", PromptSize(40_000), b"%d" % number), Work(10_000))

    estimator.learn(EstimateRequest("b", PromptSize(40_000), b"new"), Work(10_000))
    asked = EstimateRequest("a", PromptSize(40_000), b"new")
    assert estimator.estimate(asked).cached_tokens < 200


def test_a_new_conversation_is_cached_as_much_as_the_clients_earlier_ones() -> None:
    estimator = WorkEstimator()
    for number in range(30):
        asked = EstimateRequest("a", PromptSize(40_000), b"%d" % number)
        estimator.learn(asked, Work(10_000, 8_000))

    assert estimator.estimate(EstimateRequest("a", PromptSize(4_000), b"new")).cached_tokens == pytest.approx(
        800, rel=0.01
    )
    assert estimator.estimate(EstimateRequest("b", PromptSize(4_000), b"new")).cached_tokens == 0


def test_a_prompt_is_not_longer_than_the_model_takes() -> None:
    asked = EstimateRequest("a", PromptSize(4_000_000), most_prompt=8192)

    assert WorkEstimator().estimate(asked).prompt_tokens == 8192


def test_what_is_remembered_is_bounded() -> None:
    estimator = WorkEstimator()
    for number in range(10_000):
        asked = EstimateRequest(f"client {number}", PromptSize(100), b"%d" % number)
        estimator.learn(asked, Work(25, 0, 1))

    assert len(estimator._habits) == len(estimator._beginnings) == 4096
