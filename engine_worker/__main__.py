"""`python -m engine_worker`: one worker process."""

from __future__ import annotations

import logging
import os
import sys
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING

import uvloop

from drover import logs
from drover.collector import keep_from_collection
from drover.ollama_environment import warn_of_variables_without_meaning
from drover.tracing.environment import start_tracing
from engine_worker.engines import Engine, build_engine
from engine_worker.frontend_server import CannotStart
from engine_worker.server import WorkerServer
from engine_worker.settings import WorkerSettings

if TYPE_CHECKING:
    from drover.tracing.tracing import Tracing


def main(build: Callable[[WorkerSettings], Engine] = build_engine) -> int:
    settings = WorkerSettings.load(sys.argv[1:])
    logs.configure(settings.log_format, settings.log_level)
    warn_of_variables_without_meaning(os.environ)
    tracing: Tracing | None = None
    try:
        tracing = start_tracing("drover-worker", os.environ)
        status = uvloop.run(_serve(settings, build, tracing))
    except (CannotStart, ValueError, OSError) as error:
        logs.event(logging.getLogger("drover.worker"), logging.ERROR, f"cannot start: {error}")
        status = 1
    if tracing is not None:
        tracing.stop()
    if threading.active_count() > 1:
        # A thread is loading or freeing a model and cannot be interrupted; its result is not needed.
        logging.shutdown()
        os._exit(status)
    return status


async def _serve(
    settings: WorkerSettings, build: Callable[[WorkerSettings], Engine], tracing: Tracing | None
) -> int:
    engine = build(settings)
    return await WorkerServer(engine, settings, keep_from_collection, tracing).run()


if __name__ == "__main__":
    sys.exit(main())
