"""A folder that one process uses: another one would delete what it does not know."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path


def lock_folder(folder: Path) -> int:
    """Lock it until the returned descriptor is closed, or the process ends. Raises OSError if another process
    has locked it. A file system without locks is used without one.
    """
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        os.close(descriptor)
        raise OSError(error.errno, "another worker uses this folder, and each needs its own") from None
    except OSError:
        pass
    return descriptor
