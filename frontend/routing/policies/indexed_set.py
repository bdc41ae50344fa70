"""A set that chance can choose from without looking at its members."""

from __future__ import annotations

import random
from typing import Generic, TypeVar

Item = TypeVar("Item")


class IndexedSet(Generic[Item]):
    """All operations take constant time."""

    __slots__ = ("_items", "_places")

    def __init__(self) -> None:
        self._items: list[Item] = []
        self._places: dict[Item, int] = {}

    def __len__(self) -> int:
        return len(self._items)

    def __contains__(self, item: Item) -> bool:
        return item in self._places

    def add(self, item: Item) -> None:
        if item not in self._places:
            self._places[item] = len(self._items)
            self._items.append(item)

    def discard(self, item: Item) -> None:
        """The last one takes its place."""
        place = self._places.pop(item, None)
        if place is None:
            return
        last = self._items.pop()
        if last is not item:
            self._items[place] = last
            self._places[last] = place

    def any(self) -> Item:
        """Of equal chance. Raises IndexError where there is none."""
        return random.choice(self._items)

    def sample(self, count: int) -> list[Item]:
        """So many different ones, or all where there are fewer."""
        return random.sample(self._items, min(count, len(self._items)))
