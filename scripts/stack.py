"""`make up`, `down`, `logs` and `ps`: the stack of docker-compose.yml.

What is wanted comes from the environment, where make puts FRONTENDS=2, or from a file `.env`. Of the standard
library alone: where the stack runs there are Docker, make and Python.
"""

from __future__ import annotations

import json
import os
import secrets
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from scripts import dev_certs
from scripts.stack_plan import (
    Plan,
    Refused,
    Running,
    check,
    image_version,
    on_own_gpus,
    plan,
    read_env_file,
)

ROOT = Path(__file__).resolve().parent.parent
ENV_FILE = ROOT / ".env"
_BASE, _SEVERAL, _GPU = "docker-compose.yml", "deploy/compose/several.yml", "deploy/compose/gpu.yml"
_HOSTS = "deploy/compose/hosts.yml"
_TLS, _TLS_SEVERAL = "deploy/compose/tls.yml", "deploy/compose/tls-several.yml"
_TLS_HOSTS = "deploy/compose/tls-hosts.yml"
_CERTIFICATE_DAYS = 90
_SOURCES = ("drover", "engine_worker", "frontend", "requirements", "deploy/docker", ".dockerignore")


def up(environment: dict[str, str]) -> None:
    # Before Docker is called.
    check(environment)
    environment["CERTIFICATES"] = str(ROOT / environment.get("CERTIFICATES", "certificates"))
    wanted = plan(environment, _running(environment))
    if wanted.has_own_database and not environment.get("POSTGRES_PASSWORD"):
        environment["POSTGRES_PASSWORD"] = _new_password()
    _remember_tls(environment)
    if wanted.tls:
        _make_certificates(environment)
    environment["VERSION"] = image_version(environment)
    environment.setdefault("REVISION", _revision())
    compose = Compose(environment, _files(wanted))
    stack = compose.configuration()
    _build(stack, environment)
    if wanted.gpu:
        stack = on_own_gpus(stack, wanted.workers, wanted.gpus_each)
    try:
        compose.run(
            [
                "up",
                "--detach",
                "--no-build",
                "--remove-orphans",
                "--wait",
                "--wait-timeout",
                str(wanted.wait_seconds),
            ]
            + [argument for scale in wanted.scales for argument in ("--scale", scale)],
            stack,
        )
    except Refused as reason:
        raise Refused(f"{reason}; `make logs` shows what the containers say") from reason
    print(wanted.banner)


def down(environment: dict[str, str]) -> None:
    volumes = ["--volumes"] if environment.get("VOLUMES") == "1" else []
    # The two have different volumes and networks.
    for files in (_EVERYTHING, (_BASE, _HOSTS)):
        Compose(environment, files).run(["down", "--remove-orphans", *volumes])


def logs(environment: dict[str, str]) -> None:
    Compose(environment, _EVERYTHING).run(["logs", "--follow", "--tail", "100"])


def ps(environment: dict[str, str]) -> None:
    Compose(environment, _EVERYTHING).run(["ps", "--all"])


_EVERYTHING = (_BASE, _SEVERAL, _HOSTS)
_TASKS = {"up": up, "down": down, "logs": logs, "ps": ps}


class Compose:
    def __init__(self, environment: Mapping[str, str], files: Sequence[str]) -> None:
        self._environment = environment
        self.command = _compose_command(environment)
        self._files = [argument for file in files for argument in ("--file", file)]

    def configuration(self) -> dict[str, object]:
        """The merged files with all variables filled in."""
        printed = _output([*self.command, *self._files, "config", "--format", "json"], self._environment)
        stack: dict[str, object] = json.loads(printed)
        return stack

    def run(self, arguments: Sequence[str], stack: Mapping[str, object] | None = None) -> None:
        files = self._files if stack is None else ["--project-directory", str(ROOT), "--file", "-"]
        given = None if stack is None else json.dumps(stack)
        _run([*self.command, *files, *arguments], self._environment, given)


def _compose_command(environment: Mapping[str, str]) -> list[str]:
    """The command: COMPOSE if set, else Docker's plugin, else docker-compose."""
    if chosen := environment.get("COMPOSE"):
        return chosen.split()
    bundled = str(Path(sys.executable).parent / "docker-compose")
    for command in (["docker", "compose"], ["docker-compose"], [bundled]):
        try:
            tried = subprocess.run([*command, "version"], capture_output=True, check=False)
        except OSError:
            continue
        if tried.returncode == 0:
            return command
    raise Refused("there is no Docker Compose: install Docker's compose plugin, or name a program in COMPOSE")


def _files(wanted: Plan) -> list[str]:
    overlays = {
        _SEVERAL: wanted.is_several,
        _GPU: wanted.gpu,
        _HOSTS: wanted.has_host,
        _TLS: wanted.tls,
        _TLS_SEVERAL: wanted.tls and wanted.is_several,
        _TLS_HOSTS: wanted.tls and wanted.has_host,
    }
    return [_BASE, *(file for file, is_wanted in overlays.items() if is_wanted)]


def _running(environment: Mapping[str, str]) -> list[Running]:
    project = environment.get("COMPOSE_PROJECT_NAME", "drover")
    form = '{{.Label "com.docker.compose.service"}} {{.Image}}'
    filters = ["--filter", f"label=com.docker.compose.project={project}"]
    listed = _output(["docker", "ps", "--all", *filters, "--format", form], environment)
    return [Running(*line.split(" ", 1)) for line in listed.splitlines()]


def _build(stack: Mapping[str, object], environment: Mapping[str, str]) -> None:
    """Build with `docker build`: Compose needs a recent buildx, which not every machine has."""
    services = stack["services"]
    assert isinstance(services, dict)
    for service in services.values():
        build = service.get("build")
        if build:
            options = [f"{name}={value}" for name, value in build["args"].items()]
            _run(
                ["docker", "build", "--network", build["network"], "--file", build["dockerfile"]]
                + [argument for option in options for argument in ("--build-arg", option)]
                + ["--tag", service["image"], build["context"]],
                environment,
            )


def _revision() -> str:
    """A digest of the images' contents, so that a commit that does not change them restarts nothing."""
    try:
        return _output(["git", "log", "-1", "--format=%H", "--", *_SOURCES], os.environ).strip() or "unknown"
    except (Refused, OSError):
        return "unknown"


def _remember_tls(environment: Mapping[str, str]) -> None:
    """Keep TLS as it is in later calls that do not name it."""
    tls = environment.get("TLS")
    if tls and _own_settings().get("TLS", "0") != tls:
        _add_setting("TLS", tls)
        print(f"TLS={tls} is in .env, so that it stays so")


def _make_certificates(environment: Mapping[str, str]) -> None:
    """Make those that there are not. Raises Refused."""
    folder = Path(environment["CERTIFICATES"])
    if (folder / "worker" / "tls.crt").exists():
        return
    bound = environment.get("BIND", "")
    names = [socket.gethostname(), *([bound] if bound and bound not in ("0.0.0.0", "::", "[::]") else [])]
    try:
        dev_certs.make(folder, names, _CERTIFICATE_DAYS, for_containers=True)
    except dev_certs.Refused as reason:
        raise Refused(str(reason)) from reason
    print(f"made certificates for {_CERTIFICATE_DAYS} days in {folder}: scripts/dev_certs.py renews them")


def _own_settings() -> dict[str, str]:
    return read_env_file(ENV_FILE.read_text()) if ENV_FILE.is_file() else {}


def _add_setting(name: str, value: str) -> None:
    ENV_FILE.touch(mode=0o600)
    with ENV_FILE.open("a") as file:
        file.write(f"{name}={value}\n")


def _new_password() -> str:
    password = secrets.token_urlsafe(24)
    _add_setting("POSTGRES_PASSWORD", password)
    print("made a password for PostgreSQL: it is in .env, and belongs to the volume with the presets")
    return password


def _output(command: Sequence[str], environment: Mapping[str, str]) -> str:
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise Refused(f"{' '.join(command[:3])} … failed:\n{done.stderr.strip()}")
    return done.stdout


def _run(command: Sequence[str], environment: Mapping[str, str], given: str | None = None) -> None:
    done = subprocess.run(command, cwd=ROOT, env=environment, input=given, text=True, check=False)
    if done.returncode:
        raise Refused(f"{' '.join(command[:2])} … ended with status {done.returncode} (see above)")


def main() -> int:
    task = sys.argv[1] if len(sys.argv) == 2 else ""
    if task not in _TASKS:
        print(f"usage: python -m scripts.stack {'|'.join(_TASKS)}", file=sys.stderr)
        return 2
    try:
        _TASKS[task]({**_own_settings(), **os.environ})
    except (Refused, OSError) as reason:
        print(f"make {task}: {reason}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
