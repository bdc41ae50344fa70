"""A set with random choice in constant time."""

from __future__ import annotations

import random
from typing import Generic, TypeVar

Item = TypeVar("Item")


class IndexedSet(Generic[Item]):
    """All operations take constant time."""

    __slots__ = ("_indexes", "_items")

    def __init__(self) -> None:
        self._items: list[Item] = []
        self._indexes: dict[Item, int] = {}

    def __len__(self) -> int:
        return len(self._items)

    def __contains__(self, item: Item) -> bool:
        return item in self._indexes

    def add(self, item: Item) -> None:
        if item not in self._indexes:
            self._indexes[item] = len(self._items)
            self._items.append(item)

    def discard(self, item: Item) -> None:
        """Swaps the last item into the gap."""
        index = self._indexes.pop(item, None)
        if index is None:
            return
        last = self._items.pop()
        if last is not item:
            self._items[index] = last
            self._indexes[last] = index

    def any(self) -> Item:
        """A random item. Raises IndexError if there is none."""
        return random.choice(self._items)

    def sample(self, count: int) -> list[Item]:
        """`count` different random items, or all if there are fewer."""
        return random.sample(self._items, min(count, len(self._items)))
