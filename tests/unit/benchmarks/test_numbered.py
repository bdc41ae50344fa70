from __future__ import annotations

import pytest

from benchmarks.client.numbered import CHARACTERS, TOKENS, Order, OutOfOrder, token
from engine_worker.engines.simulator.tokens import Tokenizer


def text_of(first: int, after: int) -> str:
    return "".join(map(token, range(first, after)))


def test_tokens_are_all_different_and_as_long() -> None:
    assert len(set(TOKENS)) == len(TOKENS) == 3844
    assert {len(each) for each in TOKENS} == {CHARACTERS}


def test_counts_tokens_however_they_are_joined_also_over_the_end_of_the_numbers() -> None:
    order, at, counts = Order(), 0, []
    for length in (1, 7, 4000, 1, 9000):
        counts.append(order.accept(text_of(at, at + length)))
        at += length
    assert counts == [1, 7, 4000, 1, 9000]


@pytest.mark.parametrize("wrong", [text_of(1, 2), text_of(3, 4), "x0", "", "xyz"])
def test_lost_repeated_and_cut_tokens_are_out_of_order(wrong: str) -> None:
    order = Order()
    order.accept(text_of(0, 2))
    with pytest.raises(OutOfOrder):
        order.accept(wrong + text_of(3, 4))


def test_a_numbered_token_is_one_token_of_the_simulator_alone_and_joined() -> None:
    tokenizer = Tokenizer(3)
    assert [len(tokenizer.encode(each)) for each in TOKENS[:100]] == [1] * 100
    assert len(tokenizer.encode("".join(TOKENS))) == len(TOKENS)
