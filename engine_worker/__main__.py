"""`python -m engine_worker`: one worker process."""

from __future__ import annotations

import logging
import sys

import uvloop

from drover import logs
from engine_worker.engines import build_engine
from engine_worker.server import CannotStart, WorkerServer
from engine_worker.settings import WorkerSettings


def main() -> int:
    settings = WorkerSettings.load(sys.argv[1:])
    logs.configure(settings.log_format, settings.log_level)
    try:
        return uvloop.run(_serve(settings))
    except (CannotStart, ValueError) as error:
        logs.event(logging.getLogger("drover.worker"), logging.ERROR, f"cannot start: {error}")
        return 1


async def _serve(settings: WorkerSettings) -> int:
    engine = build_engine(settings)
    return await WorkerServer(engine, settings).run()


if __name__ == "__main__":
    sys.exit(main())
