"""The bodies of requests in flight: bounded together and by address, and given back."""

from __future__ import annotations

import pytest

from drover.errors import QueueFull
from frontend.middleware.held_bodies import FREE_BYTES, HeldBodies, HeldBody


def _bodies(limit: int = 1000, proxy: str = "") -> HeldBodies:
    return HeldBodies(limit, proxy.__eq__)


def test_small_bodies_do_not_count() -> None:
    bodies = _bodies(limit=1)
    body = HeldBody(bodies, "a")
    body.grow(FREE_BYTES - 1)
    body.grow(1)
    assert bodies.held == 0


def test_bytes_beyond_the_free_part_count_until_released() -> None:
    bodies = _bodies()
    body = HeldBody(bodies, "a")
    body.grow(FREE_BYTES + 10)
    body.grow(5)
    assert bodies.held == 15
    body.release()
    body.release()
    assert bodies.held == 0


def test_one_address_may_use_half_of_the_limit() -> None:
    bodies = _bodies()
    first, second, other = HeldBody(bodies, "a"), HeldBody(bodies, "a"), HeldBody(bodies, "b")
    first.grow(FREE_BYTES + 400)
    with pytest.raises(QueueFull, match="from your address have 400 of 500 bytes"):
        second.grow(FREE_BYTES + 101)
    other.grow(FREE_BYTES + 500)
    assert bodies.held == 900
    second.release()
    first.release()
    second.grow(FREE_BYTES + 101)
    assert bodies.held == 601


def test_the_limit_of_all_bodies_holds_for_proxies_too() -> None:
    bodies = _bodies(proxy="p")
    HeldBody(bodies, "p").grow(FREE_BYTES + 900)
    with pytest.raises(QueueFull, match="have 900 of 1000 bytes"):
        HeldBody(bodies, "b").grow(FREE_BYTES + 101)
    assert bodies.held == 900
