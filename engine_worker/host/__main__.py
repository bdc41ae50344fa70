"""`python -m engine_worker.host`: the worker host of one machine."""

from __future__ import annotations

import logging
import sys

import uvloop

from drover import logs
from drover.errors import DroverError
from drover.memory import configure_malloc
from engine_worker.frontend_server import CannotStart
from engine_worker.host import commands
from engine_worker.host.server import HostServer
from engine_worker.host.settings import HostSettings


def main() -> int:
    if len(sys.argv) > 1 and sys.argv[1] in commands.NAMES:
        return commands.run(sys.argv[1], sys.argv[2:])
    settings = HostSettings.load(sys.argv[1:])
    configure_malloc()
    logs.configure(settings.log_format, settings.log_level)
    try:
        uvloop.run(_serve(settings))
    except (CannotStart, DroverError, OSError, ValueError) as error:
        logs.event(logging.getLogger("drover.host"), logging.ERROR, f"cannot start: {error}")
        return 1
    return 0


async def _serve(settings: HostSettings) -> None:
    await HostServer(settings).run()


if __name__ == "__main__":
    sys.exit(main())
