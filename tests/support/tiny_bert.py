"""A BERT with a classifier on top, small enough to be made by a test: the same weights for `transformers`, as
a GGUF for llama.cpp, and as a few lines of numpy, which say what its logits are.

`python -m tests.support.tiny_bert FOLDER LABELS`, in SGLang's environment, writes it with `transformers`.
`python -m tests.support.tiny_bert FOLDER`, there too, reads pairs as JSON from stdin and writes the logits
that `transformers` computes with what is in the folder.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy
from numpy.typing import NDArray

Array = NDArray[numpy.float32]

SPECIALS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
_TEXT = """
sheep graze sleep on the hill in valley a dog runs at night wool is warm what do eat grass river flows to sea
car red fast town market sells apples and bread rain falls who keeps flock shepherd .
"""
WORDS = tuple(dict.fromkeys(_TEXT.split()))
TOKENS = (*SPECIALS, *WORDS, *"bcdefghijklmnopqrstuvwxyz", *(f"##{letter}" for letter in "aeionrst"))
HIDDEN, LAYERS, HEADS, FEED_FORWARD, POSITIONS, SEGMENTS = 64, 2, 2, 128, 128, 2
EPSILON = 1e-12
_CLS, _SEP = TOKENS.index("[CLS]"), TOKENS.index("[SEP]")
CLASSES = ("negative", "neutral", "positive")


def weights(labels: int) -> dict[str, Array]:
    """By the names of `transformers`. Large enough that logits differ clearly."""
    dice = numpy.random.default_rng(7)

    def noise(*shape: int) -> Array:
        return (dice.standard_normal(shape) * 0.25).astype(numpy.float32)

    def layer_norm(name: str) -> dict[str, Array]:
        return {f"{name}.weight": 1 + noise(HIDDEN), f"{name}.bias": noise(HIDDEN)}

    def linear(name: str, outputs: int, inputs: int) -> dict[str, Array]:
        return {f"{name}.weight": noise(outputs, inputs), f"{name}.bias": noise(outputs)}

    found = {
        "bert.embeddings.word_embeddings.weight": noise(len(TOKENS), HIDDEN),
        "bert.embeddings.position_embeddings.weight": noise(POSITIONS, HIDDEN),
        "bert.embeddings.token_type_embeddings.weight": noise(SEGMENTS, HIDDEN),
        **layer_norm("bert.embeddings.LayerNorm"),
    }
    for number in range(LAYERS):
        layer = f"bert.encoder.layer.{number}"
        for part in ("query", "key", "value"):
            found |= linear(f"{layer}.attention.self.{part}", HIDDEN, HIDDEN)
        found |= linear(f"{layer}.attention.output.dense", HIDDEN, HIDDEN)
        found |= layer_norm(f"{layer}.attention.output.LayerNorm")
        found |= linear(f"{layer}.intermediate.dense", FEED_FORWARD, HIDDEN)
        found |= linear(f"{layer}.output.dense", HIDDEN, FEED_FORWARD)
        found |= layer_norm(f"{layer}.output.LayerNorm")
    found |= linear("bert.pooler.dense", HIDDEN, HIDDEN)
    return found | linear("classifier", labels, HIDDEN)


@dataclass(frozen=True, slots=True)
class TinyBert:
    """The model in numpy. `one_segment`: all tokens are of the first segment, as in llama.cpp."""

    parameters: Mapping[str, Array]
    one_segment: bool = False

    def logits(self, first: str, second: str = "") -> Array:
        """Of a text, or of a pair of texts, whose words are all in the vocabulary."""
        head, tail = [_CLS, *ids_of(first), _SEP], [*ids_of(second), _SEP] if second else []
        segments = [0] * len(head) + [0 if self.one_segment else 1] * len(tail)
        return self.logits_of_ids([*head, *tail], segments)

    def logits_of_ids(self, ids: Sequence[int], segments: Sequence[int]) -> Array:
        embeddings = "bert.embeddings"
        hidden = (
            self.parameters[f"{embeddings}.word_embeddings.weight"][list(ids)]
            + self.parameters[f"{embeddings}.position_embeddings.weight"][: len(ids)]
            + self.parameters[f"{embeddings}.token_type_embeddings.weight"][list(segments)]
        )
        hidden = self._norm(f"{embeddings}.LayerNorm", hidden)
        for number in range(LAYERS):
            hidden = self._layer(f"bert.encoder.layer.{number}", hidden)
        pooled = numpy.tanh(self._linear("bert.pooler.dense", hidden[0]))
        return self._linear("classifier", pooled)

    def _layer(self, name: str, hidden: Array) -> Array:
        query, key, value = (
            self._heads(f"{name}.attention.self.{part}", hidden) for part in ("query", "key", "value")
        )
        scores = query @ key.swapaxes(1, 2) / numpy.sqrt(HIDDEN / HEADS)
        powers = numpy.exp(scores - scores.max(axis=-1, keepdims=True))
        mixed = (powers / powers.sum(axis=-1, keepdims=True) @ value).swapaxes(0, 1).reshape(hidden.shape)
        mixed = self._linear(f"{name}.attention.output.dense", mixed)
        hidden = self._norm(f"{name}.attention.output.LayerNorm", hidden + mixed)
        inner = _gelu(self._linear(f"{name}.intermediate.dense", hidden))
        return self._norm(f"{name}.output.LayerNorm", hidden + self._linear(f"{name}.output.dense", inner))

    def _heads(self, name: str, hidden: Array) -> Array:
        return self._linear(name, hidden).reshape(len(hidden), HEADS, -1).swapaxes(0, 1)

    def _linear(self, name: str, values: Array) -> Array:
        result: Array = values @ self.parameters[f"{name}.weight"].T + self.parameters[f"{name}.bias"]
        return result

    def _norm(self, name: str, values: Array) -> Array:
        centred = values - values.mean(axis=-1, keepdims=True)
        scaled = centred / numpy.sqrt(values.var(axis=-1, keepdims=True) + EPSILON)
        result: Array = scaled * self.parameters[f"{name}.weight"] + self.parameters[f"{name}.bias"]
        return result


def ids_of(text: str) -> list[int]:
    return [TOKENS.index(word) for word in text.split()]


def _gelu(values: Array) -> Array:
    from math import erf, sqrt

    result: Array = values * (1 + numpy.vectorize(erf)(values / sqrt(2))) / 2
    return result


def write_vocabulary(folder: Path) -> Path:
    """The tokens, one a line, as WordPiece tokenizers read them."""
    path = folder / "vocab.txt"
    path.write_text("".join(f"{token}\n" for token in TOKENS))
    return path


def write_transformers_model(folder: Path, labels: int) -> None:
    """In SGLang's environment."""
    import torch
    from transformers import BertConfig, BertForSequenceClassification, BertTokenizerFast

    folder.mkdir(parents=True, exist_ok=True)
    BertTokenizerFast(str(write_vocabulary(folder)), model_max_length=POSITIONS).save_pretrained(folder)
    names = CLASSES if labels == len(CLASSES) else [f"LABEL_{number}" for number in range(labels)]
    config = BertConfig(
        vocab_size=len(TOKENS),
        hidden_size=HIDDEN,
        num_hidden_layers=LAYERS,
        num_attention_heads=HEADS,
        intermediate_size=FEED_FORWARD,
        max_position_embeddings=POSITIONS,
        type_vocab_size=SEGMENTS,
        layer_norm_eps=EPSILON,
        id2label=dict(enumerate(names)),
        label2id={name: number for number, name in enumerate(names)},
        # Published checkpoints have it, and SGLang reads it.
        position_embedding_type="absolute",
    )
    model = BertForSequenceClassification(config)
    tensors = {name: torch.from_numpy(array) for name, array in weights(labels).items()}
    missing = model.load_state_dict(tensors, strict=False)
    assert not missing.unexpected_keys, missing
    assert all("position_ids" in name for name in missing.missing_keys), missing
    model.save_pretrained(folder)


def transformers_logits(folder: Path, pairs: Sequence[Sequence[str]]) -> list[list[float]]:
    """In SGLang's environment. A pair may be one text."""
    import torch
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForSequenceClassification.from_pretrained(folder).eval()
    rows = []
    with torch.no_grad():
        for pair in pairs:
            rows.append(model(**tokenizer(*pair, return_tensors="pt")).logits[0].tolist())
    return rows


def main() -> int:
    folder, *labels = sys.argv[1:]
    if labels:
        write_transformers_model(Path(folder), int(labels[0]))
    else:
        json.dump(transformers_logits(Path(folder), json.load(sys.stdin)), sys.stdout)
    return 0


if __name__ == "__main__":
    sys.exit(main())
