"""What is read of a config.json."""

from __future__ import annotations

import pytest

from engine_worker.engines.sglang.model_config import integer, text_config


def test_a_vision_model_has_its_language_models_numbers_in_a_part() -> None:
    config = {"hidden_size": 1, "vocab_size": 2, "text_config": {"hidden_size": 3}}
    assert integer(text_config(config), "hidden_size") == 3
    assert integer(text_config(config), "vocab_size") == 2


@pytest.mark.parametrize("config", [{"hidden_size": 4}, {"hidden_size": 4, "text_config": "none"}])
def test_other_models_have_them_at_the_top(config: dict[str, object]) -> None:
    assert integer(text_config(config), "hidden_size") == 4


@pytest.mark.parametrize("value", [None, "4", 4.5, True, [4]])
def test_what_is_no_integer_counts_as_missing(value: object) -> None:
    assert integer({"hidden_size": value}, "hidden_size") == 0
