"""Garbage collection skips what a process has when it starts."""

from __future__ import annotations

import gc

from drover.collector import keep_from_collection


def test_later_collections_skip_present_objects() -> None:
    there: list[object] = []
    try:
        keep_from_collection()
        kept = gc.get_freeze_count()
        later: list[object] = []

        assert kept > 1_000
        assert any(each is later for each in gc.get_objects())
        assert not any(each is there for each in gc.get_objects())
    finally:
        gc.unfreeze()
