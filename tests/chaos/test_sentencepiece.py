"""A worker killed in mid-answer, with a vocabulary whose tokens put a space before text and whose rarer
characters are a token for each byte: the next worker's text continues where the first one's ended.
"""

from __future__ import annotations

import signal
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from tests.chaos.clients import Seen, body, take
from tests.chaos.fleet import Fleet, running_fleet
from tests.chaos_long.tally import failovers
from tests.support.scripted_gguf import THINKING_AND_TOOLS
from tests.support.sentencepiece_gguf import TEMPLATE, TEXT, write_sentencepiece_gguf

_TOKENS = 1_800
# A grammar that never makes the answer end.
_ENDLESS = {"type": "string", "minLength": 10_000}
_FLAGS = ("--engine", "llamacpp", "--name", "sim", "--context-length", "2048", "--slots", "2")


@pytest.mark.parametrize(
    ("template", "more", "beginning"),
    [
        (TEMPLATE, {}, TEXT),
        (THINKING_AND_TOOLS, {}, TEXT),
        (TEMPLATE, {"format": _ENDLESS}, '"'),
    ],
    ids=["plain", "parsed", "format"],
)
def test_the_text_is_the_same_as_without_the_kill(
    tmp_path: Path, template: str, more: dict[str, object], beginning: str
) -> None:
    path = tmp_path / "m.gguf"
    write_sentencepiece_gguf(path, template)
    with running_fleet(tmp_path, workers=2, engine_flags=(*_FLAGS, "--model", str(path))) as fleet:
        undisturbed = _streamed(fleet, kills_at=0, **more)
        disturbed = _streamed(fleet, kills_at=3, **more)
        while not disturbed.is_disturbed:
            # The whole answer was there before its third piece was read.
            disturbed = _streamed(fleet, kills_at=3, **more)

    assert (undisturbed.error, disturbed.error) == ("", "")
    assert disturbed.content == undisturbed.content
    assert disturbed.done is not None
    assert undisturbed.done is not None
    assert disturbed.done["eval_count"] == undisturbed.done["eval_count"] == _TOKENS
    assert undisturbed.content.lstrip().startswith(beginning)
    assert failovers(tmp_path) == 1


@dataclass
class _Seen(Seen):
    is_disturbed: bool = False


def _streamed(fleet: Fleet, kills_at: int, **more: object) -> _Seen:
    """`kills_at`: number of chunks after which the worker is killed; 0: never."""
    seen = _Seen()
    request = {**body("Tell me.", _TOKENS), **more}
    with httpx.stream("POST", f"{fleet.url()}/api/chat", json=request, timeout=90) as response:
        for line in response.iter_lines():
            take(seen, line)
            if seen.pieces == kills_at:
                seen.is_disturbed = _kill_who_has_work(fleet)
    return seen


def _kill_who_has_work(fleet: Fleet) -> bool:
    """False if none has."""
    busy = [number for number in range(2) if fleet.running(number)]
    for number in busy:
        fleet.workers[number].signal(signal.SIGKILL)
    return bool(busy)
