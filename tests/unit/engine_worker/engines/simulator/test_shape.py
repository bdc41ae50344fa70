from __future__ import annotations

from collections.abc import Callable

import pytest

from engine_worker.engines.simulator import Shape


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Shape(prefill_tokens_per_second=0), "prefill_tokens_per_second is 0, it must be above 0"),
        (lambda: Shape(decode_step_base_ms=float("nan")), "decode_step_base_ms is nan, it must be 0 or more"),
        (lambda: Shape(running_limit=0), "running_limit is 0, it must be 1 or more"),
        (
            lambda: Shape(stall_decode_after_tokens=-1),
            "stall_decode_after_tokens is -1, it must be 0 or more",
        ),
        (lambda: Shape(token_bytes=4), "token_bytes is 4, it must be 1 to 3"),
        (
            lambda: Shape(answer_tokens_max=3),
            "answer_tokens_max is 3, it must not be below answer_tokens_min, 16",
        ),
        (lambda: Shape(kv_tokens=100), "kv_tokens is 100, it must not be below context_length, 8192"),
    ],
)
def test_a_value_that_makes_no_sense_is_named(make: Callable[[], Shape], message: str) -> None:
    with pytest.raises(ValueError) as caught:
        make()
    assert str(caught.value) == message


def test_the_defaults_are_those_of_the_documentation() -> None:
    shape = Shape()
    assert (shape.prefill_tokens_per_second, shape.prefill_chunk_tokens) == (8000, 512)
    assert (shape.decode_step_base_ms, shape.decode_step_per_running_ms) == (6.0, 0.35)
    assert (shape.running_limit, shape.kv_tokens, shape.context_length) == (256, 524288, 8192)
