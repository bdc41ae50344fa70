"""Which slot a prompt should go to: the free one whose cache shares the longest beginning with it."""

from __future__ import annotations

from collections.abc import Sequence


class SlotPrefixes:
    """Remembers, per slot, the tokens of its last request. Bounded by slots x context."""

    def __init__(self, slots: int) -> None:
        self._ids: list[Sequence[int]] = [()] * slots
        self._used_at = [0] * slots
        self._clock = 0

    def choose(self, free: set[int], ids: Sequence[int]) -> int:
        """Among equals, the one that has been idle for longest, so that warm caches survive."""
        return max(free, key=lambda slot: (common_prefix(self._ids[slot], ids), -self._used_at[slot]))

    def remember(self, slot: int, ids: Sequence[int]) -> None:
        self._clock += 1
        self._used_at[slot] = self._clock
        self._ids[slot] = ids


def common_prefix(one: Sequence[int], other: Sequence[int]) -> int:
    """How many leading items are equal. Compares slices, which is fast, in log2(length) steps."""
    low, high = 0, min(len(one), len(other))
    if one[:high] == other[:high]:
        return high
    while low + 1 < high:
        middle = (low + high) // 2
        if one[low:middle] == other[low:middle]:
            low = middle
        else:
            high = middle
    return low if low == high or one[low] != other[low] else low + 1
