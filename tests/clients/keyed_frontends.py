"""Two frontends with keys in one PostgreSQL, and the command that makes keys."""

from __future__ import annotations

import json
import os
import secrets
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import httpx

from tests.support.processes import ROOT

_KNOWN_SECONDS = 10.0


@dataclass(frozen=True)
class KeyedFrontends:
    """`frontends`: their URLs; `worker`: the address of their worker."""

    frontends: tuple[str, ...]
    database_url: str
    worker: str

    def key(self, *settings: str) -> str:
        """A new key's secret, which the frontends know. `settings`: flags of `keys create`."""
        made = self.command("create", "--name", f"key-{secrets.token_hex(4)}", *settings)
        secret = str(made["secret"])
        for url in self.frontends:
            self.wait_until_known(url, secret)
        return secret

    def command(self, command: str, *arguments: str) -> dict[str, object]:
        """The result of `drover-frontend keys`."""
        printed = subprocess.run(
            [
                *(os.environ["DROVER_TEST_PYTHON"], "-m", "frontend", "keys", command),
                *("--json", "--database-url", self.database_url, *arguments),
            ],
            cwd=ROOT,
            check=True,
            capture_output=True,
            text=True,
        )
        result = json.loads(printed.stdout)
        assert isinstance(result, dict)
        return result

    def wait_until_known(self, url: str, secret: str) -> None:
        """Before the first key is known, everything is open."""
        deadline = time.monotonic() + _KNOWN_SECONDS
        while (status(url), status(url, secret)) != (401, 200):
            assert time.monotonic() < deadline, "the key is not known"
            time.sleep(0.05)


def status(url: str, secret: str = "", path: str = "/api/tags") -> int:
    headers = {"authorization": f"Bearer {secret}"} if secret else {}
    return httpx.get(f"{url}{path}", headers=headers, timeout=5).status_code


@contextmanager
def postgres_url() -> Iterator[str]:
    """The URL of a server of its own."""
    command = [os.environ["DROVER_TEST_PYTHON"], "-m", "tests.support.postgres_server"]
    with subprocess.Popen(
        command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as server:
        assert server.stdout is not None
        yield server.stdout.readline().strip()
        server.communicate("")
