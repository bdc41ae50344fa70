"""What a model's configuration says about the classifier on top of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_CLASSIFIER = "ForSequenceClassification"
# Models whose tokens see those that follow: they can be neither prefilled in parts nor share prefixes.
_ENCODERS = ("bert", "roberta", "xlm-roberta")
# Their positions are counted from the padding token's id on.
_FROM_PADDING = ("roberta", "xlm-roberta")
_IDENTITY = "Identity"


@dataclass(frozen=True, slots=True)
class ClassifierHead:
    """`labels`: names of the classes; `gives_logits`: SGLang applies no activation to its numbers;
    `pair_tokens`: those around and between the texts of a pair.
    """

    labels: Sequence[str]
    gives_logits: bool
    pair_tokens: int

    @classmethod
    def of(cls, config: Mapping[str, object], tokenizer: PreTrainedTokenizerBase) -> ClassifierHead | None:
        """None for a model without a classifier."""
        names = config.get("architectures")
        if not isinstance(names, list) or not any(str(name).endswith(_CLASSIFIER) for name in names):
            return None
        return cls(_labels(config), _gives_logits(config), tokenizer.num_special_tokens_to_add(pair=True))


def is_encoder(config: Mapping[str, object]) -> bool:
    return config.get("model_type") in _ENCODERS


def most_tokens(config: Mapping[str, object]) -> int | None:
    """The number of tokens that have a position; None where the configuration does not limit it."""
    positions = config.get("max_position_embeddings")
    if not isinstance(positions, int):
        return None
    padding = config.get("pad_token_id")
    if config.get("model_type") in _FROM_PADDING and isinstance(padding, int):
        return positions - padding - 1
    return positions


def _labels(config: Mapping[str, object]) -> Sequence[str]:
    names = config.get("id2label")
    if not isinstance(names, Mapping):
        return ("LABEL_0", "LABEL_1")
    return [str(name) for _, name in sorted(names.items(), key=lambda each: int(each[0]))]


def _gives_logits(config: Mapping[str, object]) -> bool:
    """SGLang applies the activation that older cross-encoders name. Newer ones name it elsewhere; where it is
    the identity, the logits are the scores.
    """
    if config.get("sbert_ce_default_activation_function"):
        return False
    newer = config.get("sentence_transformers")
    named = str(newer.get("activation_fn", "")) if isinstance(newer, Mapping) else ""
    return not named.endswith(_IDENTITY)
