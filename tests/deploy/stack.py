"""The stack as an operator has it: `make up` with a real Docker engine."""

from __future__ import annotations

import json
import os
import secrets
import subprocess
from dataclasses import dataclass
from pathlib import Path

from tests.support.processes import ROOT, free_port

_MAKE_SECONDS = 540.0
_DOCKER_SECONDS = 60.0
# Settings of the environment that runs the tests are not for the stack.
_SETTINGS = frozenset(
    [
        "BIND",
        "DATABASE_URL",
        "ENGINE",
        "FRONTENDS",
        "GPU",
        "MODEL",
        "MODELS",
        "TLS",
        "TRUSTED_PROXIES",
        "WORKERS",
    ]
)


@dataclass(frozen=True)
class Container:
    name: str
    identity: str
    started: str
    addresses: dict[str, str]
    """By network."""


class Stack:
    """A project of its own next to what else runs on the engine."""

    def __init__(self, folder: Path) -> None:
        self.project = f"drover-test-{secrets.token_hex(3)}"
        self.port = free_port()
        self.subnet = f"10.{201 + secrets.randbelow(50)}.{secrets.randbelow(256)}.0/24"
        self._worker_env = folder / "worker.env"
        self._frontend_env = folder / "frontend.env"
        self._environment = {name: value for name, value in os.environ.items() if name not in _SETTINGS} | {
            "COMPOSE_PROJECT_NAME": self.project,
            "COMPOSE_PROGRESS": "plain",
            "FRONTEND_ENV": str(self._frontend_env),
            "HOST_ENV": str(folder / "host.env"),
            # What runs would stay.
            "HOSTS": "0",
            "PORT": str(self.port),
            "POSTGRES_PASSWORD": secrets.token_urlsafe(16),
            "PROXY_SUBNET": self.subnet,
            "VERSION": "test",
            "WORKER_ENV": str(self._worker_env),
        }

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def set_worker(self, **settings: str) -> None:
        lines = [f"DROVER_WORKER_{name.upper()}={value}" for name, value in settings.items()]
        self._worker_env.write_text("\n".join(lines) + "\n")

    def make(self, task: str, **wanted: object) -> subprocess.CompletedProcess[str]:
        named = [f"{name}={value}" for name, value in wanted.items()]
        return subprocess.run(
            ["make", "--no-print-directory", task, *named],
            cwd=ROOT,
            env=self._environment,
            capture_output=True,
            text=True,
            timeout=_MAKE_SECONDS,
            check=False,
        )

    def up(self, **wanted: object) -> str:
        """What it said in the end."""
        done = self.make("up", **wanted)
        assert done.returncode == 0, f"{done.stdout[-4000:]}\n{done.stderr[-4000:]}\n{self.logs()}"
        return done.stdout

    def down(self) -> None:
        done = self.make("down", VOLUMES=1)
        assert done.returncode == 0, done.stderr

    def docker(self, *arguments: str, check: bool = True) -> str:
        done = subprocess.run(
            ["docker", *arguments], capture_output=True, text=True, timeout=_DOCKER_SECONDS, check=False
        )
        assert not check or done.returncode == 0, done.stderr
        return done.stdout.strip() if check else done.stdout + done.stderr

    def inspect(self, name: str) -> dict[str, object]:
        """Of a container or an image."""
        found: list[dict[str, object]] = json.loads(self.docker("inspect", name))
        return found[0]

    def containers(self, service: str) -> list[Container]:
        """That run, in the order of their numbers."""
        filters = self._filters("--filter", f"label=com.docker.compose.service={service}")
        names = sorted(self.docker("ps", *filters, "--format", "{{.Names}}").split())
        return [self._container(name) for name in names]

    def logs(self) -> str:
        names = self.docker("ps", "--all", *self._filters(), "--format", "{{.Names}}").split()
        tails = [self.docker("logs", "--tail", "40", name, check=False) for name in names]
        return "\n".join(f"--- {name}\n{tail}" for name, tail in zip(names, tails, strict=True))

    def left(self) -> list[str]:
        """Of the project on the engine."""
        kinds = (("ps", "--all"), ("network", "ls"), ("volume", "ls"))
        return [line for kind in kinds for line in self.docker(*kind, "--quiet", *self._filters()).split()]

    def _filters(self, *more: str) -> list[str]:
        return ["--filter", f"label=com.docker.compose.project={self.project}", *more]

    def _container(self, name: str) -> Container:
        form = "{{.Id}} {{.State.StartedAt}} {{json .NetworkSettings.Networks}}"
        identity, started, networks = self.docker("inspect", "--format", form, name).split(" ", 2)
        addresses = {
            network.removeprefix(f"{self.project}_"): each["IPAddress"]
            for network, each in json.loads(networks).items()
        }
        return Container(name, identity, started, addresses)
