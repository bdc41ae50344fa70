from __future__ import annotations

from collections.abc import Callable

import pytest

from engine_worker.engines.simulator import SimulatorConfig


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: SimulatorConfig(prefill_tokens_per_second=0),
            "prefill_tokens_per_second is 0, it must be above 0",
        ),
        (
            lambda: SimulatorConfig(decode_step_base_ms=float("nan")),
            "decode_step_base_ms is nan, it must be 0 or more",
        ),
        (lambda: SimulatorConfig(running_limit=0), "running_limit is 0, it must be 1 or more"),
        (
            lambda: SimulatorConfig(stall_decode_after_tokens=-1),
            "stall_decode_after_tokens is -1, it must be 0 or more",
        ),
        (lambda: SimulatorConfig(token_bytes=4), "token_bytes is 4, it must be 1 to 3"),
        (
            lambda: SimulatorConfig(answer_tokens_max=3),
            "answer_tokens_max is 3, it must not be below answer_tokens_min, 16",
        ),
        (
            lambda: SimulatorConfig(kv_tokens=100),
            "kv_tokens is 100, it must not be below context_length, 8192",
        ),
    ],
)
def test_an_impossible_value_is_named(make: Callable[[], SimulatorConfig], message: str) -> None:
    with pytest.raises(ValueError) as caught:
        make()
    assert str(caught.value) == message


def test_the_defaults_are_those_of_the_documentation() -> None:
    config = SimulatorConfig()
    assert (config.prefill_tokens_per_second, config.prefill_chunk_tokens) == (8000, 512)
    assert (config.decode_step_base_ms, config.decode_step_per_running_ms) == (6.0, 0.35)
    assert (config.running_limit, config.kv_tokens, config.context_length) == (256, 524288, 8192)
