"""A simulator worker whose tokens are the times at which the engine made them.

`python -m benchmarks.targets.stamped_worker FLAGS`: the flags of engine_worker. Each token of a script has as
its text the reading of the monotonic clock, which all processes of a machine share, and a semicolon.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator

from engine_worker.__main__ import main
from engine_worker.engines.simulator.script import Event, Piece, Script


def _stamped(self: Script) -> Iterator[Event]:
    """The engine step reads the next event when it makes it, so the time is exact."""
    for step in self.steps:
        for _ in range(step.times):
            event = step.event
            if isinstance(event, Piece):
                yield Piece(event.ids, f"{time.monotonic():.7f};".encode())
            else:
                yield event


if __name__ == "__main__":
    Script.play = _stamped  # type: ignore[method-assign]  # replaced to stamp each token
    sys.exit(main())
