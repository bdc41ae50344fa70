"""What `make up` starts, from the variables that are set and from the containers that run already."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from drover import __version__

_LOOPBACK = ("127.0.0.1", "::1", "[::1]", "localhost")
_CPU_ENGINES = ("llamacpp", "simulator")
_LAST_PORT = 65535
_WAIT_SECONDS, _GPU_WAIT_SECONDS = 600, 7200


class Refused(Exception):
    """The stack cannot be started: the text says what is wrong and what to do."""


@dataclass(frozen=True)
class Running:
    """A container of the stack."""

    service: str
    image: str


@dataclass(frozen=True)
class Plan:
    frontends: int
    workers: int
    gpu: bool
    gpus_each: int
    is_several: bool
    has_own_database: bool
    tls: bool
    banner: str
    has_host: bool = False

    @property
    def scales(self) -> list[str]:
        scales = [f"frontend={self.frontends}"]
        if self.has_host:
            scales.append("worker=0")
        elif not self.gpu:
            scales.append(f"worker={self.workers}")
        if self.is_several and not self.has_own_database:
            scales.append("postgres=0")
        return scales

    @property
    def wait_seconds(self) -> int:
        return _GPU_WAIT_SECONDS if self.gpu else _WAIT_SECONDS


def check(environment: Mapping[str, str]) -> None:
    """Check the variables that need no Docker engine. Raises Refused."""
    for name in ("FRONTENDS", "WORKERS", "GPUS_PER_WORKER"):
        _count(environment, name, 0)
    if environment.get("GPU", "") not in ("", "0", "1"):
        raise Refused(f"GPU must be 1 or 0, and not {environment['GPU']!r}")
    if environment.get("HOSTS", "") not in ("", "0", "1"):
        raise Refused(f"HOSTS must be 1 or 0, one for this machine, and not {environment['HOSTS']!r}")
    if environment.get("TLS", "") not in ("", "0", "1"):
        raise Refused(f"TLS must be 1 or 0, and not {environment['TLS']!r}")
    if _count(environment, "PORT", 0) > _LAST_PORT:
        raise Refused(f"PORT must be a number up to {_LAST_PORT}, and not {environment['PORT']!r}")


def image_version(environment: Mapping[str, str]) -> str:
    """Tag and label of the images that are built."""
    return environment.get("VERSION") or __version__


def plan(environment: Mapping[str, str], running: Sequence[Running]) -> Plan:
    """The plan. A variable that is not set keeps what runs, so that one tier can be scaled without the other.
    Raises Refused.
    """
    check(environment)
    frontends = _count(environment, "FRONTENDS", _running_count(running, "frontend"))
    workers = _count(environment, "WORKERS", _running_count(running, "worker"))
    gpu = _is_gpu(environment, running)
    _check_model(environment, gpu)
    has_host = _has_host(environment, running)
    if has_host and gpu:
        raise Refused("HOSTS=1 and GPU=1 do not go together here: HOSTS=0, or GPU=0")
    database = environment.get("DATABASE_URL", "")
    is_several = frontends > 1
    if is_several and database.startswith("sqlite"):
        raise Refused(
            "several frontends cannot share a file of SQLite: leave DATABASE_URL out for a PostgreSQL in the "
            "stack, or name one of your own (DATABASE_URL=postgresql://user@host/name)"
        )
    has_own_database = is_several and not database
    return Plan(
        frontends,
        workers,
        gpu,
        _count(environment, "GPUS_PER_WORKER", 0),
        is_several,
        has_own_database,
        environment.get("TLS") == "1",
        _banner(environment, frontends, 0 if has_host else workers),
        has_host,
    )


def on_own_gpus(stack: Mapping[str, object], workers: int, gpus_each: int) -> dict[str, object]:
    """One service per worker, each with its own GPUs, all with the network alias `worker`."""
    changed = copy.deepcopy(dict(stack))
    services = changed["services"]
    assert isinstance(services, dict)
    worker = services.pop("worker")
    worker.pop("build", None)
    for number in range(workers):
        service = copy.deepcopy(worker)
        first = number * gpus_each
        (device,) = service["deploy"]["resources"]["reservations"]["devices"]
        device["device_ids"] = [str(gpu) for gpu in range(first, first + gpus_each)]
        service["networks"]["fleet"] = {"aliases": ["worker"]}
        services[f"worker-{number}"] = service
    return changed


def read_env_file(text: str) -> dict[str, str]:
    """Parse lines `NAME=value`, as Compose does."""
    lines = [line.strip() for line in text.splitlines()]
    pairs = [line.partition("=") for line in lines if "=" in line and not line.startswith("#")]
    return {name.strip(): value.strip().strip("\"'") for name, _, value in pairs}


def _running_count(running: Sequence[Running], tier: str) -> int:
    return sum(each.service == tier or each.service.startswith(f"{tier}-") for each in running)


def _is_gpu(environment: Mapping[str, str], running: Sequence[Running]) -> bool:
    if environment.get("GPU"):
        return environment["GPU"] == "1"
    return any("worker-sglang" in each.image for each in running)


def _has_host(environment: Mapping[str, str], running: Sequence[Running]) -> bool:
    if environment.get("HOSTS"):
        return environment["HOSTS"] == "1"
    return any(each.service == "host" for each in running)


def _check_model(environment: Mapping[str, str], gpu: bool) -> None:
    engine, model = environment.get("ENGINE", "") or "llamacpp", environment.get("MODEL", "")
    if gpu and not model:
        raise Refused(
            "GPU=1 needs a model: MODEL=Qwen/Qwen3-8B, or a folder below /models (MODELS=/path/of/models)"
        )
    if not gpu and engine not in _CPU_ENGINES:
        raise Refused(f"ENGINE must be one of {', '.join(_CPU_ENGINES)}, and not {engine!r}; GPU=1 is SGLang")
    is_path = model.startswith(("/", ".", "~")) or (not gpu and engine == "llamacpp" and bool(model))
    if is_path and not model.startswith("/models/"):
        raise Refused(
            f"workers do not see {model!r}: name its folder in MODELS, which they see as /models "
            "(MODELS=/path/of/models MODEL=/models/name)"
        )


def _count(environment: Mapping[str, str], name: str, running: int) -> int:
    text = environment.get(name, "") or str(running or 1)
    if not text.isdecimal() or int(text) < 1:
        raise Refused(f"{name} must be a number from 1 on, and not {text!r}")
    return int(text)


def _banner(environment: Mapping[str, str], frontends: int, workers: int) -> str:
    host, port = environment.get("BIND", "") or "127.0.0.1", environment.get("PORT", "") or "11434"
    scheme = "https" if environment.get("TLS") == "1" else "http"
    tier = f"workers: {workers}" if workers else "one worker host: ollama pull NAME"
    lines = [f"Drover is ready: {scheme}://{host}:{port} (frontends: {frontends}, {tier})"]
    if scheme == "https":
        lines.append(f"Clients trust {environment.get('CERTIFICATES', 'certificates')}/authority.crt")
    if host not in _LOOPBACK:
        lines.append(
            f"OPEN TO THE NETWORK: a client that reaches {host}:{port} can use every model (BIND={host})"
        )
    return "\n".join(lines)
