"""Models with a classifier of one label, which score a query and a document together."""

from __future__ import annotations

from engine_worker.engines.llamacpp.api import LlamaApi
from engine_worker.engines.llamacpp.gguf import GgufFile

_CLASSIFIER = "cls."
_LAST_LAYER = "cls.output.weight"
# llama.cpp maps the two labels of these, yes and no, to probabilities, and returns that of yes.
_YES_OR_NO = ("qwen3", "qwen3vl")
_ANY_TEXT = "a"


def check_classifier(file: GgufFile, task: str) -> None:
    """Raises ValueError, with what to do, for a model that cannot be used for the task."""
    if task == "classify":
        raise ValueError(
            "--task classify: llama.cpp's server gives the score of one class only; take --engine sglang"
        )
    if task != "rerank":
        return
    if not any(tensor.name.startswith(_CLASSIFIER) for tensor in file.tensors):
        raise ValueError(
            "--task rerank: this model has no classifier (no tensor named cls.…), so it scores "
            "nothing; take a GGUF of a reranker, like bge-reranker-v2-m3"
        )
    labels = _labels(file)
    if labels > 1 and file.architecture not in _YES_OR_NO:
        raise ValueError(f"--task rerank: this model has {labels} classes, and a reranker has one")


def _labels(file: GgufFile) -> int:
    shapes = [list(tensor.shape) for tensor in file.tensors if tensor.name == _LAST_LAYER]
    return int(shapes[0][1]) if shapes and len(shapes[0]) > 1 else 1


def gives_logits(file: GgufFile) -> bool:
    return file.architecture not in _YES_OR_NO


class PairTokenizer:
    """Reads queries and documents as /rerank does: special tokens that they name are text."""

    def __init__(self, api: LlamaApi) -> None:
        self._api = api

    async def tokenize(self, text: str, add_special: bool) -> list[int]:
        return await self._api.tokenize(text, add_special, parse_special=False)


async def pair_overhead(api: LlamaApi) -> int:
    """The number of tokens that the model has around and between a query and a document."""
    text = await PairTokenizer(api).tokenize(_ANY_TEXT, add_special=False)
    return await api.pair_tokens(_ANY_TEXT, _ANY_TEXT) - 2 * len(text)
