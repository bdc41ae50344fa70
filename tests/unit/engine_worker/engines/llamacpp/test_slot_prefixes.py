"""The slot with the longest common prefix is chosen."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from engine_worker.engines.llamacpp.slots import SlotPrefixes, common_prefix
from tests.support.cpu_time import within_cpu

IDS = st.lists(st.integers(0, 2), max_size=40)


def _naive(one: list[int], other: list[int]) -> int:
    length = 0
    while length < min(len(one), len(other)) and one[length] == other[length]:
        length += 1
    return length


@given(IDS, IDS)
def test_a_common_prefix_is_what_a_loop_finds(one: list[int], other: list[int]) -> None:
    assert common_prefix(one, other) == _naive(one, other)


@given(IDS, IDS, IDS)
def test_a_common_prefix_of_lists_that_share_one(shared: list[int], one: list[int], other: list[int]) -> None:
    assert common_prefix(shared + one, shared + other) == _naive(shared + one, shared + other)


def test_long_prompts_are_compared_fast() -> None:
    one = list(range(1_000_000))
    other = [*one[:999_999], -1]
    with within_cpu(1):
        assert common_prefix(one, other) == 999_999


def test_the_free_slot_with_the_longest_common_prefix_is_chosen() -> None:
    prefixes = SlotPrefixes(3)
    prefixes.remember(0, [1, 2])
    prefixes.remember(1, [1, 2, 3, 4])
    prefixes.remember(2, [1])

    assert prefixes.choose({0, 1, 2}, [1, 2, 3, 9]) == 1
    assert prefixes.choose({0, 2}, [1, 2, 3, 9]) == 0
    assert prefixes.choose({2}, [1, 2, 3, 9]) == 2


def test_a_new_conversation_takes_the_slot_that_has_been_idle_for_longest() -> None:
    prefixes = SlotPrefixes(3)
    prefixes.remember(1, [1, 2])
    assert prefixes.choose({0, 1}, [9]) == 0
    prefixes.remember(0, [3, 4])
    prefixes.remember(2, [5, 6])

    assert prefixes.choose({0, 1, 2}, [9]) == 1
    prefixes.remember(1, [9])
    assert prefixes.choose({0, 1, 2}, [8]) == 0


def test_a_slot_remembers_only_its_last_request() -> None:
    prefixes = SlotPrefixes(2)
    prefixes.remember(0, [1, 2, 3])
    prefixes.remember(0, [7])
    prefixes.remember(1, [1])

    assert prefixes.choose({0, 1}, [1, 2, 3]) == 1


def test_only_requests_with_the_same_salt_share_a_slots_cache() -> None:
    prefixes = SlotPrefixes(2)
    assert prefixes.use(0, "")
    prefixes.remember(0, [1, 2, 3])
    assert not prefixes.use(1, "mine")
    prefixes.began(1, "mine")
    prefixes.remember(1, [1, 2, 3, 4])

    assert prefixes.choose({0, 1}, [1, 2, 3, 4]) == 0
    assert prefixes.choose({0, 1}, [1, 2, 3, 4], "mine") == 1
    assert prefixes.use(1, "mine")
    # The salted text leaves the slot with the first request of another salt.
    assert not prefixes.use(1, "")
    prefixes.began(1, "")
    assert prefixes.choose({1}, [1, 2, 3, 4]) == 1
    assert prefixes.use(1, "")


def test_a_request_that_llama_cpp_never_began_leaves_a_cache_that_nothing_may_share() -> None:
    prefixes = SlotPrefixes(1)
    prefixes.use(0, "theirs")
    prefixes.began(0, "theirs")
    assert not prefixes.use(0, "mine")

    assert not prefixes.use(0, "mine")
    assert not prefixes.use(0, "theirs")
    prefixes.began(0, "theirs")
    assert prefixes.use(0, "theirs")
