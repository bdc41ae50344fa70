"""What a model's configuration says of its classifier, and which models fit a task."""

from __future__ import annotations

import pytest

from engine_worker.engines.sglang.classifier import check_task
from engine_worker.engines.sglang.upstream.classifier import ClassifierHead, is_encoder, most_tokens
from engine_worker.settings import Task


class Tokenizer:
    def num_special_tokens_to_add(self, pair: bool) -> int:
        return 3 if pair else 2


def _with(*labels: str) -> ClassifierHead | None:
    return ClassifierHead(labels, gives_logits=True, pair_tokens=3) if labels else None


def _head(**config: object) -> ClassifierHead | None:
    named = {"architectures": ["BertForSequenceClassification"], "id2label": {"0": "a"}}
    return ClassifierHead.of({**named, **config}, Tokenizer())


@pytest.mark.parametrize("names", [None, [], ["BertModel"], ["Qwen3ForCausalLM"]])
def test_models_without_a_classifier(names: list[str] | None) -> None:
    assert _head(architectures=names) is None


def test_labels_in_the_order_of_their_numbers() -> None:
    """As text or as numbers: a configuration is JSON, or read already."""
    numbers = {str(number): f"class {number}" for number in range(12)}
    for labels in (numbers, {int(number): name for number, name in reversed(numbers.items())}):
        head = _head(id2label=labels)
        assert head is not None
        assert list(head.labels) == [f"class {number}" for number in range(12)]
        assert head.pair_tokens == 3


@pytest.mark.parametrize(
    ("config", "gives_logits"),
    [
        ({}, True),
        ({"sbert_ce_default_activation_function": "torch.nn.modules.linear.Identity"}, False),
        ({"sbert_ce_default_activation_function": None}, True),
        ({"sentence_transformers": {"activation_fn": "torch.nn.modules.linear.Identity"}}, False),
        ({"sentence_transformers": {"activation_fn": "torch.nn.modules.activation.Sigmoid"}}, True),
        ({"sentence_transformers": {"version": "5.0"}}, True),
    ],
)
def test_who_maps_the_numbers_to_scores(config: dict[str, object], gives_logits: bool) -> None:
    head = _head(**config)
    assert head is not None
    assert head.gives_logits is gives_logits


@pytest.mark.parametrize(
    ("config", "encoder", "tokens"),
    [
        ({"model_type": "bert", "max_position_embeddings": 512, "pad_token_id": 0}, True, 512),
        ({"model_type": "xlm-roberta", "max_position_embeddings": 8194, "pad_token_id": 1}, True, 8192),
        ({"model_type": "roberta", "max_position_embeddings": 514, "pad_token_id": 1}, True, 512),
        ({"model_type": "qwen3", "max_position_embeddings": 40960, "pad_token_id": 1}, False, 40960),
        ({"model_type": "qwen3"}, False, None),
    ],
)
def test_encoders_and_their_positions(config: dict[str, object], encoder: bool, tokens: int | None) -> None:
    assert (is_encoder(config), most_tokens(config)) == (encoder, tokens)


@pytest.mark.parametrize(
    ("task", "labels"),
    [("generate", ()), ("embed", ()), ("embed", ("a", "b")), ("rerank", ("a",)), ("classify", ("a", "b"))],
)
def test_a_model_that_fits(task: Task, labels: tuple[str, ...]) -> None:
    check_task(task, _with(*labels))


@pytest.mark.parametrize(
    ("task", "labels", "message"),
    [
        ("rerank", (), "has no classifier"),
        ("classify", (), "has no classifier"),
        ("rerank", ("a", "b"), "has 2 classes; start it with --task classify"),
        ("classify", ("a",), "has one class; start it with --task rerank"),
    ],
)
def test_a_model_that_does_not_fit(task: Task, labels: tuple[str, ...], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        check_task(task, _with(*labels))
