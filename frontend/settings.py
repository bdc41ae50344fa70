"""Everything that can be set about a frontend."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, ClassVar, Literal

from annotated_types import Ge, Gt, Le
from pydantic import AfterValidator, Field, ValidationInfo, field_validator
from pydantic_settings import SettingsConfigDict

from drover.logs import LogFormat
from drover.ollama_environment import OllamaVariable
from drover.ollama_values import any_text, debug_level, whole_number
from drover.settings import CommaList, ProcessSettings, TcpAddress, check_address, check_tcp_address
from frontend.listen_address import listen_address
from frontend.middleware.client_id import check_network
from frontend.middleware.cors import check_origin
from frontend.models.database.url import DatabaseUrl, parse_url
from frontend.models.virtual_definition import VirtualModel, virtual_models
from frontend.routing.backends.ollama.address import OLLAMA, check_hosted
from frontend.routing.discovery import check_service
from frontend.routing.discovery.dns import DNS
from frontend.routing.discovery.kubernetes_service import K8S
from frontend.routing.policies import PolicyName


def _check_version(value: str) -> str:
    if len(value.split(".")) != 3 or not all(part.isdecimal() for part in value.split(".")):
        raise ValueError("it must be MAJOR.MINOR.PATCH in digits, since clients compare it")
    return value


def _check_place(value: str) -> str:
    if value.startswith(OLLAMA):
        return check_hosted(value)
    if value.startswith(DNS):
        check_tcp_address(value.removeprefix(DNS))
        return value
    if value.startswith(K8S):
        check_service(value)
        return value
    return check_address(value)


def _check_database_url(value: str) -> str:
    if value:
        parse_url(value)
    return value


def _check_routers(value: str) -> str:
    virtual_models(value)
    return value


def _default_database_url() -> str:
    return f"sqlite:///{_state_folder() / 'drover' / 'presets.sqlite3'}"


def _state_folder() -> Path:
    if state := os.environ.get("XDG_STATE_HOME"):
        return Path(state)
    try:
        return Path.home() / ".local" / "state"
    except RuntimeError:
        # A user without a home, as containers have them. Others may write here too, so it is this user's.
        return Path(tempfile.gettempdir()) / f"drover-{os.getuid()}"


class FrontendSettings(ProcessSettings):
    """Protocol dialects over HTTP, in front of a fleet of workers."""

    model_config = SettingsConfigDict(env_prefix="DROVER_FRONTEND_", cli_prog_name="python -m frontend")

    ollama_variables: ClassVar[tuple[OllamaVariable, ...]] = (
        OllamaVariable("OLLAMA_HOST", "listen", listen_address),
        OllamaVariable("OLLAMA_ORIGINS", "origins", any_text),
        OllamaVariable("OLLAMA_MAX_QUEUE", "max_queue", whole_number),
        OllamaVariable("OLLAMA_DEBUG", "log_level", debug_level),
    )

    listen: TcpAddress = "127.0.0.1:11434"
    """Where to serve HTTP: host:port. On a loopback address, requests must name a local host."""
    origins: CommaList = Field(default=[])
    """Web pages that may call, besides those of this machine, desktop applications and browser extensions:
    scheme://host, with commas between them; a * stands for any text.
    """
    workers: CommaList = Field(default=["127.0.0.1:50051"])
    """Where the engine workers are, with commas between them: host:port, unix:/path, dns:name:port for all
    addresses of a name, k8s:service.namespace:port for the pods of a Kubernetes Service, or
    ollama:http://host:11434/model#name for a model on an Ollama server.
    """
    smart_routers: Annotated[str, AfterValidator(_check_routers)] = ""
    """Virtual models that choose between two others: JSON, or a file of it, like {"auto": {"judge": "small",
    "simple": "small", "complex": "large"}}.
    """
    policy: PolicyName = "prefix"
    """Which worker gets a request: prefix (conversations stay where their prefix is cached, as long as the
    load is even), least_load, round_robin or power_of_two.
    """
    stall_seconds: Annotated[float, Ge(0)] = 30.0
    """A worker with requests that produces nothing for so long (longer, the more prompt tokens wait there) is
    taken out until a probe comes back; 0: never.
    """
    max_queue: Annotated[int, Ge(0)] = 512
    """How many requests may wait in this frontend for a worker with room; others are refused as busy."""
    max_priority: Annotated[int, Ge(0), Le(100)] = 0
    """The highest priority that a client may ask for by X-Drover-Priority; below 0 it always may."""
    heartbeat_seconds: Annotated[float, Ge(0)] = 0.0
    """How often a stream that waits for its first token gets a sign of life (an empty piece, or what its
    protocol has for that); 0: never.
    """
    trusted_proxies: CommaList = Field(default=[])
    """Addresses or networks of proxies whose X-Forwarded-For says who a client is."""
    move_wait_seconds: Annotated[float, Ge(0)] = 10.0
    """How long a request whose worker is lost waits for another one of the same model."""
    ollama_version: Annotated[str, AfterValidator(_check_version)] = "0.33.0"
    """The version that /api/version reports; clients switch features by it."""
    max_body_bytes: Annotated[int, Gt(0)] = 100 * 1024 * 1024
    """Longest request body; longer ones are refused with 413."""
    max_held_body_bytes: Annotated[int, Gt(0)] = 256 * 1024 * 1024
    """What the bodies of all requests in flight may have together, unpacked too, and one address half of it,
    unless it is one of the trusted proxies; a request beyond is refused as busy. Of each body 64 KiB do not
    count. It is never less than twice the longest body.
    """
    body_timeout_seconds: Annotated[float, Gt(0)] = 300.0
    """Longest time for a request body to arrive."""
    max_connections: Annotated[int, Gt(0)] = 4096
    """How many HTTP connections may be open at the same time, fewer where the process may not have so many
    file descriptors. Then the longest idle one of the address with most connections is closed for a new one,
    and where none is idle the new one is refused with 503.
    """
    max_connections_per_address: Annotated[int, Gt(0)] = 2048
    """How many of them one address may have, unless it is one of the trusted proxies."""
    max_header_bytes: Annotated[int, Gt(0)] = 64 * 1024
    """Longest request line and header fields together; longer ones are refused with 431."""
    header_timeout_seconds: Annotated[float, Gt(0)] = 30.0
    """Longest time for a request line and header fields to arrive, counted from when the connection was made
    for its first request; then the connection is closed.
    """
    write_timeout_seconds: Annotated[float, Ge(0)] = 120.0
    """How long a client may take nothing of its answer while some of it waits to be sent; then its connection
    is closed and its request cancelled. 0: for ever.
    """
    max_output_tokens: Annotated[int, Ge(0)] = 0
    """Longest answer, which then ends with done_reason "length"; 0: no limit but the model's."""
    request_timeout_seconds: Annotated[float, Ge(0)] = 0.0
    """Longest time for a generating request, after which it is ended with an error; 0: none."""
    database_url: Annotated[str, AfterValidator(_check_database_url)] = ""
    """Where presets and blobs live: sqlite:///path/file.sqlite3, or postgresql://user@host/name for several
    frontends. Default: drover/presets.sqlite3 in $XDG_STATE_HOME or ~/.local/state.
    """
    shared_database: bool = False
    """Other frontends serve the same clients, so the database must be one that they share: a file of SQLite
    is then refused at the start.
    """
    database_timeout_seconds: Annotated[float, Gt(0)] = 5.0
    """Longest time for the database to answer. Served models never wait for it."""
    preset_poll_seconds: Annotated[float, Gt(0)] = 0.25
    """How often to look whether another frontend has changed a preset."""
    max_presets: Annotated[int, Ge(0)] = 2_000
    """How many presets there may be."""
    max_preset_bytes: Annotated[int, Gt(0)] = 256 * 1024
    """Longest preset: system, template, messages, parameters and licences together."""
    max_preset_store_bytes: Annotated[int, Gt(0)] = 64 * 1024 * 1024
    """What all presets may have together; every frontend keeps them in memory."""
    max_blob_bytes: Annotated[int, Gt(0)] = 16 * 1024 * 1024
    """Longest blob; longer ones are refused with 413, since weights are served by workers."""
    max_blob_store_bytes: Annotated[int, Gt(0)] = 256 * 1024 * 1024
    """What all blobs may have together."""
    blob_lifetime_seconds: Annotated[float, Gt(0)] = 3600.0
    """How long a blob is kept."""
    shutdown_grace_seconds: Annotated[float, Ge(0), Le(86400)] = 30.0
    """After SIGTERM: how long open requests may go on."""
    log_format: LogFormat = "auto"
    """auto (text on a terminal, JSON elsewhere), json or text."""
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    """The least important level that is logged."""

    @field_validator("workers")
    @classmethod
    def _valid_workers(cls, workers: list[str]) -> list[str]:
        if not workers:
            raise ValueError("name at least one worker")
        return [_check_place(worker) for worker in workers]

    @field_validator("shared_database")
    @classmethod
    def _can_be_shared(cls, shared: bool, info: ValidationInfo) -> bool:
        """Presets of one frontend would be missing on the others. A URL that is wrong has its own error."""
        url = info.data.get("database_url")
        if shared and url is not None and (not url or parse_url(url).is_sqlite):
            raise ValueError(
                "several frontends cannot share a file of SQLite; set "
                f"{cls.names_of('database_url')} to postgresql://user@host/name"
            )
        return shared

    @field_validator("trusted_proxies")
    @classmethod
    def _valid_proxies(cls, proxies: list[str]) -> list[str]:
        return [check_network(proxy) for proxy in proxies]

    @field_validator("origins")
    @classmethod
    def _valid_origins(cls, origins: list[str]) -> list[str]:
        return [check_origin(origin) for origin in origins]

    @property
    def database(self) -> DatabaseUrl:
        return parse_url(self.database_url or _default_database_url())

    @property
    def virtual_models(self) -> Mapping[str, VirtualModel]:
        """By their names' keys."""
        return virtual_models(self.smart_routers)

    @property
    def most_held_body_bytes(self) -> int:
        """So that half of it, an address's part, has room for the longest body."""
        return max(self.max_held_body_bytes, 2 * self.max_body_bytes)

    @property
    def request_deadline_seconds(self) -> float | None:
        """None where there is none."""
        return self.request_timeout_seconds or None
