"""Plausible log probabilities that are a function of the prompt and the position."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from hashlib import blake2b
from itertools import islice

from drover.v1 import engine_pb2 as pb
from engine_worker.engines.simulator.tokens import bytes_of

MAX_TOP = 20
_LEAST_CHANCE = 0.4
_CHANCE_SPREAD = 0.55


class Logprobs:
    """`vocabulary`: ids to take alternatives from, all different and more than MAX_TOP; `top`: how many."""

    def __init__(self, vocabulary: Sequence[int], key: bytes, top: int) -> None:
        self._vocabulary = vocabulary
        self._key = key
        self._top = top

    def of(self, ids: Sequence[int], position: int) -> list[pb.TokenLogprob]:
        """One for each token; the first of `ids` is token number `position` of the answer."""
        return [self._of_token(token_id, position + at) for at, token_id in enumerate(ids)]

    def _of_token(self, token_id: int, position: int) -> pb.TokenLogprob:
        dice = blake2b(b"logprob%d" % position, key=self._key, digest_size=8).digest()
        chance = _LEAST_CHANCE + _CHANCE_SPREAD * dice[0] / 255
        result = pb.TokenLogprob(token_id=token_id, token=bytes_of(token_id), logprob=math.log(chance))
        if self._top:
            result.top.add(token_id=token_id, token=result.token, logprob=result.logprob)
            self._add_others(result, 1 - chance, int.from_bytes(dice[1:], "big"))
        return result

    def _add_others(self, result: pb.TokenLogprob, chance_left: float, start: int) -> None:
        """Each has half of what the ones before it left."""
        for other in islice(self._others(result.token_id, start), self._top - 1):
            chance_left /= 2
            result.top.add(token_id=other, token=bytes_of(other), logprob=math.log(chance_left))

    def _others(self, token_id: int, start: int) -> Iterator[int]:
        for at in range(len(self._vocabulary)):
            other = self._vocabulary[(start + at) % len(self._vocabulary)]
            if other != token_id:
                yield other
