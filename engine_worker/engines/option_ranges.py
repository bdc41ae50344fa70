"""Clamp a request's numbers to the ranges that an engine is known to work with.

Each engine has one table, `option_ranges.py` in its folder; `tests/engines/test_option_ranges.py` runs the
real engines at the edges of theirs. A value beyond an edge becomes the edge, and the answer names it as not
honoured if that changes its meaning. NaN and too many stop texts are refused.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from drover.errors import ContextExceeded, InvalidRequest
from drover.v1 import engine_pb2 as pb

_MAX_TOP_LOGPROBS = 20
_MAX_BIASES = 1024
# Longer than any text that a model's markup or a client's framing needs; each is compared for each token.
_MAX_STOPS = 256
_MAX_STOP_CHARACTERS = 1024
# A year: sums of several attempts' times stay far within an int64.
_MAX_DURATION_NS = 365 * 24 * 3600 * 1_000_000_000
_DURATIONS = ("queue_ns", "load_ns", "prefill_ns", "decode_ns")


@dataclass(frozen=True, slots=True)
class Range:
    """The range of a number: `least` and `most` are exact as 32-bit floats.

    `same_below` and `same_above` say that values beyond that edge mean the same as the edge. Values up to the
    first number of `replaced` become the second one, which means the same.
    """

    least: float
    most: float
    same_below: bool = False
    same_above: bool = False
    replaced: tuple[float, float] | None = None

    def clamped(self, value: float) -> tuple[float, bool]:
        """Return the clamped value, and True if its meaning is unchanged."""
        if self.replaced is not None and value <= self.replaced[0]:
            return self.replaced[1], True
        if value < self.least:
            return self.least, self.same_below
        if value > self.most:
            return self.most, self.same_above
        return value, True


@dataclass(frozen=True, slots=True)
class Bounds:
    """The ranges of one engine, by the fields of Sampling; `bias` is for each value of `logit_bias`."""

    sampling: Mapping[str, Range]
    bias: Range

    def apply(self, request: pb.GenerateRequest, model: pb.Model) -> list[str]:
        """Clamp the request in place; return the names of options whose meaning changed.

        Raises InvalidRequest and ContextExceeded.
        """
        _check_lists(request)
        _check_continuation(request, model.context_length)
        return [*self._clamp_scalars(request.sampling), *self._clamp_biases(request.sampling)]

    def _clamp_scalars(self, sampling: pb.Sampling) -> Iterator[str]:
        for field, value in sampling.ListFields():
            if isinstance(value, float):
                _check_number(field.name, value)
            if field.name not in self.sampling:
                continue
            clamped, is_same = self.sampling[field.name].clamped(value)
            if clamped != value:
                setattr(sampling, field.name, clamped)
            if not is_same:
                yield field.name

    def _clamp_biases(self, sampling: pb.Sampling) -> Iterator[str]:
        has_changed = False
        for token, bias in list(sampling.logit_bias.items()):
            _check_number(f"logit_bias of token {token}", bias)
            sampling.logit_bias[token], is_same = self.bias.clamped(bias)
            has_changed |= not is_same
        if has_changed:
            yield "logit_bias"


def _check_number(name: str, value: float) -> None:
    if math.isnan(value):
        raise InvalidRequest(f"{name} is NaN; send a number, or leave it out for the model's default")


def _check_lists(request: pb.GenerateRequest) -> None:
    sampling = request.sampling
    if request.top_logprobs > _MAX_TOP_LOGPROBS:
        raise InvalidRequest(f"top_logprobs must be between 0 and {_MAX_TOP_LOGPROBS}")
    if len(sampling.logit_bias) > _MAX_BIASES:
        raise InvalidRequest(
            f"logit_bias: {len(sampling.logit_bias)} are too many, at most {_MAX_BIASES} are possible"
        )
    if len(sampling.stop) > _MAX_STOPS:
        raise InvalidRequest(
            f"stop: {len(sampling.stop)} texts are too many, at most {_MAX_STOPS} are possible"
        )
    longest = max(map(len, sampling.stop), default=0)
    if longest > _MAX_STOP_CHARACTERS:
        raise InvalidRequest(
            f"stop: a text of {longest} characters is too long, at most {_MAX_STOP_CHARACTERS} are possible"
        )


def _check_continuation(request: pb.GenerateRequest, context_length: int) -> None:
    """Check a resumed answer, which never has more tokens than the context; engines do not check it."""
    if not request.HasField("continuation"):
        return
    earlier = request.continuation
    tokens = len(earlier.prompt_ids) + len(earlier.produced_ids)
    if tokens > context_length:
        raise ContextExceeded(
            f"the continuation has {tokens} tokens, but the context window is {context_length} tokens long",
            prompt_tokens=tokens,
            context_tokens=context_length,
        )
    for name in _DURATIONS:
        duration_ns = getattr(earlier.timings, name)
        if not 0 <= duration_ns <= _MAX_DURATION_NS:
            raise InvalidRequest(
                f"continuation: {name} is {duration_ns}, it must be between 0 and {_MAX_DURATION_NS}"
            )
    if not earlier.prompt_ids:
        raise InvalidRequest("continuation: prompt_ids is empty; send those of the first worker's `started`")
