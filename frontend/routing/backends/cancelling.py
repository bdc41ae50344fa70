"""Who has cancelled: a task's owner, or something below that it waits for."""

from __future__ import annotations

import asyncio


def is_cancelled() -> bool:
    """Whether somebody has cancelled this task. A call that ends below it raises the same."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0
