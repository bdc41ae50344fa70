"""The pairs of low-rank matrices that an adapter consists of."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from drover.errors import InvalidRequest

_MAX_SHOWN = 80


@dataclass(frozen=True, slots=True)
class Pair:
    """What is added to one weight of the model: B x A, of `rank` columns and rows. `weight`: the weight's
    name in the model's files; `inputs` and `outputs`: its two sizes.
    """

    weight: str
    rank: int
    inputs: int
    outputs: int


Shape = Sequence[int]


def pairs_of(
    first: Mapping[str, Shape], second: Mapping[str, Shape], foreign: Iterable[str]
) -> Sequence[Pair]:
    """Pair the A matrices [rank, inputs] with the B matrices [outputs, rank], each by its weight's name.

    `foreign`: names of tensors that are neither. Raises InvalidRequest.
    """
    for name in foreign:
        raise InvalidRequest(
            f"adapters: tensor {shown(name)} is no matrix of a LoRA; other changes of a model (whole "
            "weights, biases, DoRA's magnitudes, new tokens) are not taken"
        )
    if not first:
        raise InvalidRequest("adapters: the adapter has no matrices")
    for name in first.keys() ^ second.keys():
        raise InvalidRequest(f"adapters: of the two matrices for {shown(name)} only one is there")
    return [_pair(name, first[name], second[name]) for name in sorted(first)]


def _pair(name: str, first: Shape, second: Shape) -> Pair:
    if len(first) != 2 or len(second) != 2 or first[0] != second[1] or min(*first, *second) < 1:
        raise InvalidRequest(
            f"adapters: the matrices for {shown(name)} have the shapes {list(first)} and {list(second)}, "
            "which cannot be multiplied"
        )
    return Pair(name, first[0], first[1], second[0])


def shown(name: str) -> str:
    """A name of a client's file for an error message."""
    return repr(name if len(name) <= _MAX_SHOWN else f"{name[:_MAX_SHOWN]}…")
