"""Who gets which update."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from drover.errors import QueueFull
from frontend.access.key import Key
from frontend.console.view import View
from frontend.console.viewers import Viewer, Viewers, first_event

_OPEN = View(None, str)


async def _next(viewer: Viewer) -> tuple[str, dict[str, Any]]:
    async with asyncio.timeout(1):
        event = (await viewer.next()).decode()
    kind, data = event.split("\n")[:2]
    return kind.removeprefix("event: "), json.loads(data.removeprefix("data: "))


async def test_a_viewer_gets_everything_and_then_what_changed() -> None:
    viewers = Viewers(2)
    with viewers.join(_OPEN) as viewer:
        viewer.start(first_event({"a": 1, "b": [2]}))
        assert await _next(viewer) == ("state", {"a": 1, "b": [2]})
        viewers.publish(_OPEN, {"a": 1, "b": [2]})
        await _next(viewer)
        viewers.publish(_OPEN, {"a": 1, "b": [3]})
        assert await _next(viewer) == ("update", {"b": [3]})
        viewers.publish(_OPEN, {"a": 1, "b": [3]})
        assert await _next(viewer) == ("update", {})


async def test_what_changed_back_since_a_viewer_began_is_sent() -> None:
    viewers = Viewers(2)
    with viewers.join(_OPEN):
        viewers.publish(_OPEN, {"queue": []})
        with viewers.join(_OPEN) as late:
            late.start(first_event({"queue": ["a request"]}))
            await _next(late)
            viewers.publish(_OPEN, {"queue": []})
            assert await _next(late) == ("update", {"queue": []})


async def test_a_slow_viewer_keeps_its_history() -> None:
    """Updates have the newest points only; a state would take the place of the earlier ones."""
    viewers = Viewers(2)
    with viewers.join(_OPEN) as viewer:
        viewer.start(first_event({"points": [1, 2, 3]}))
        for number in range(4, 7):
            viewers.publish(_OPEN, {"points": [number]})
        assert await viewer.next() == (
            b'event: state\ndata: {"points":[1,2,3]}\n\nevent: update\ndata: {"points":[6]}\n\n'
        )


async def test_a_slow_viewer_gets_all_sections_and_is_dropped_in_the_end() -> None:
    viewers = Viewers(2)
    with viewers.join(_OPEN) as viewer:
        for number in range(10):
            viewers.publish(_OPEN, {"a": number, "b": 1})
        assert await _next(viewer) == ("update", {"a": 9, "b": 1})
        for number in range(17):
            viewers.publish(_OPEN, {"a": number, "b": 1})
        assert await viewer.next() == b""
    assert len(viewers) == 0


async def test_others_get_only_what_their_view_shows() -> None:
    viewers = Viewers(2)
    other = View(Key("k", "alice"), str)
    with viewers.join(_OPEN) as one, viewers.join(other) as two:
        assert len(list(viewers.views())) == 2
        viewers.publish(_OPEN, {"a": "for admins"})
        viewers.publish(other, {"a": "for alice"})
        assert (await _next(one))[1] == {"a": "for admins"}
        assert (await _next(two))[1] == {"a": "for alice"}


async def test_there_is_a_limit_and_an_end() -> None:
    viewers = Viewers(1)
    with viewers.join(_OPEN) as viewer:
        with pytest.raises(QueueFull, match="close one"), viewers.join(_OPEN):
            pass
        viewers.end()
        assert await viewer.next() == b""
    with pytest.raises(QueueFull, match="shutting down"), viewers.join(_OPEN):
        pass


async def test_one_key_cannot_take_all_places() -> None:
    viewers, alice, root = Viewers(8), View(Key("k1", "alice"), str), View(Key("k2", "root"), str)
    with viewers.join(alice), viewers.join(alice), viewers.join(root):
        with pytest.raises(QueueFull, match="2 times with this key"), viewers.join(alice):
            pass
        with viewers.join(root):
            assert len(viewers) == 4
