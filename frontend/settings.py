"""Settings of a frontend."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, ClassVar, Literal, Self

from annotated_types import Ge, Gt, Le
from pydantic import AfterValidator, Field, ValidationInfo, field_validator, model_validator
from pydantic_settings import SettingsConfigDict

from drover.logs import LogFormat
from drover.ollama_environment import OllamaVariable
from drover.ollama_values import any_text, debug_level, whole_number
from drover.settings import CommaList, TcpAddress, check_address, check_tcp_address
from drover.tls.files import TlsFiles
from drover.tls.fleet import WORKER_NAME
from drover.tls.settings import FleetTlsSettings, files_of
from frontend.access.keep_alive import KeepAliveBounds
from frontend.access.keys_file import check_keys_file
from frontend.database.url import DatabaseUrl, parse_url
from frontend.listen_address import listen_address
from frontend.middleware.client_id import check_network
from frontend.middleware.cors import check_origin
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


def _check_worker(value: str) -> str:
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
        # A user without a home, as in containers. The folder is shared, so the name has the user's id.
        return Path(tempfile.gettempdir()) / f"drover-{os.getuid()}"


class FrontendSettings(FleetTlsSettings):
    """Protocol dialects over HTTP, in front of a fleet of workers. With `keys` in place of flags: makes and
    lists keys of clients, see `keys --help`.
    """

    model_config = SettingsConfigDict(env_prefix="DROVER_FRONTEND_", cli_prog_name="python -m frontend")

    ollama_variables: ClassVar[tuple[OllamaVariable, ...]] = (
        OllamaVariable("OLLAMA_HOST", "listen", listen_address),
        OllamaVariable("OLLAMA_ORIGINS", "origins", any_text),
        OllamaVariable("OLLAMA_MAX_QUEUE", "max_queue", whole_number),
        OllamaVariable("OLLAMA_DEBUG", "log_level", debug_level),
    )

    listen: TcpAddress = "127.0.0.1:11434"
    """Where to serve HTTP: host:port. On a loopback address, requests must name a local host."""
    tls_certificate: str = ""
    """Serve HTTPS: a PEM file with the certificate and the intermediate ones; read again when it changes."""
    tls_key: str = ""
    """The PEM file with the key of --tls-certificate, without a password."""
    origins: CommaList = Field(default=[])
    """Web pages that may call, in addition to those of this machine, desktop applications and browser
    extensions: scheme://host, separated by commas; a * stands for any text.
    """
    hosts: CommaList = Field(default=[])
    """Addresses of worker hosts, which load models on demand, separated by commas: host:port, dns:name:port
    or k8s:service.namespace:port, as of workers. With hosts, there are no workers but those that are named.
    """
    workers: CommaList = Field(default=["127.0.0.1:50051"])
    """Addresses of the engine workers, separated by commas: host:port, unix:/path, dns:name:port for all
    addresses of a name, k8s:service.namespace:port for the pods of a Kubernetes Service, or
    ollama:http://host:11434/model#name for a model on an Ollama server.
    """
    fleet_tls_certificate: str = ""
    """Mutual TLS with the workers: a PEM file with this frontend's certificate; read again when it changes.
    All three files are needed.
    """
    fleet_tls_key: str = ""
    """The PEM file with the key of --fleet-tls-certificate, without a password."""
    fleet_tls_authority: str = ""
    """The PEM file with the certificates of the authorities that sign the workers' certificates."""
    fleet_tls_worker_name: str = WORKER_NAME
    """The name that each worker's certificate must have; `address` for the host of the worker's address."""
    load_timeout_seconds: Annotated[float, Ge(0)] = 300.0
    """Longest time that a request waits for a host to load its model; 0: no limit."""
    ollama_authority: str = ""
    """A PEM file with authorities of Ollama servers with https, in addition to the public ones."""
    smart_routers: Annotated[str, AfterValidator(_check_routers)] = ""
    """Virtual models that choose between two others: JSON, or the path of a JSON file, like {"auto":
    {"judge": "small", "simple": "small", "complex": "large"}}.
    """
    policy: PolicyName = "prefix"
    """How a worker is selected: prefix (a conversation stays where its prefix is cached, as long as the load
    is even), least_load, round_robin or power_of_two.
    """
    stall_seconds: Annotated[float, Ge(0)] = 30.0
    """A worker that has requests and produces no tokens for this long (longer with more prompt tokens
    waiting) gets no more until a probe succeeds; 0 disables it.
    """
    max_queue: Annotated[int, Ge(0)] = 512
    """Limit of requests that wait in this frontend for a worker; further ones are refused as busy."""
    short_prompt_tokens: Annotated[int, Ge(0)] = 2048
    """Shorter prompts are short; tokens that are expected in the prefix cache do not count. Of longer ones a
    worker computes one at a time (two if both are little longer), so that short ones get their first token
    soon; 0 disables it and the next setting.
    """
    short_places_percent: Annotated[int, Ge(0), Le(90)] = 25
    """Share of a model's workers, and of the places and the KV cache of each, that long prompts leave free
    while short ones come.
    """
    max_priority: Annotated[int, Ge(0), Le(100)] = 0
    """The highest priority that a client may set by X-Drover-Priority; negative ones are always allowed."""
    min_keep_alive_seconds: Annotated[float, Ge(0)] = 300.0
    """Shorter `keep_alive`s of keys with the role user count as this one: models are there for everybody."""
    max_keep_alive_seconds: Annotated[float, Ge(0)] = 3600.0
    """Longer `keep_alive`s of keys with the role user, and endless ones, count as this one."""
    heartbeat_seconds: Annotated[float, Ge(0)] = 0.0
    """Interval of heartbeats in a stream that waits for its first token (an empty part, or what the protocol
    has for it); 0 disables them.
    """
    trusted_proxies: CommaList = Field(default=[])
    """Addresses or networks of proxies whose X-Forwarded-For is used as the client's address."""
    move_wait_seconds: Annotated[float, Ge(0)] = 10.0
    """How long a request whose worker is lost waits for another worker of the same model, and a new one for
    a host that has its model and was lost less than so long ago.
    """
    ollama_version: Annotated[str, AfterValidator(_check_version)] = "0.40.12"
    """The version that /api/version reports; clients switch features by it."""
    max_body_bytes: Annotated[int, Gt(0)] = 100 * 1024 * 1024
    """Longest request body; longer ones are refused with 413."""
    max_held_body_bytes: Annotated[int, Gt(0)] = 256 * 1024 * 1024
    """Limit of the bodies of all in-flight requests together, after decompression; half of it for one address
    that is not a trusted proxy. Requests beyond it are refused as busy. The first 64 KiB of each body do not
    count. It is never less than twice the longest body.
    """
    body_timeout_seconds: Annotated[float, Gt(0)] = 300.0
    """Longest time for a request body to arrive."""
    max_connections: Annotated[int, Gt(0)] = 4096
    """Limit of open HTTP connections, lower if the process may not have as many file descriptors. At the
    limit the longest idle one of the address with most connections is closed for a new one; if none is idle
    the new one is refused with 503.
    """
    max_connections_per_address: Annotated[int, Gt(0)] = 2048
    """Limit of connections of one address that is not a trusted proxy."""
    max_header_bytes: Annotated[int, Gt(0)] = 64 * 1024
    """Longest request line and header fields together; longer ones are refused with 431."""
    header_timeout_seconds: Annotated[float, Gt(0)] = 30.0
    """Longest time for a request line and header fields to arrive, for the first request from the time of the
    connection; then the connection is closed.
    """
    write_timeout_seconds: Annotated[float, Ge(0)] = 120.0
    """How long a client may read nothing while a response waits to be sent; then its connection is closed and
    its request cancelled. 0 disables it.
    """
    max_output_tokens: Annotated[int, Ge(0)] = 0
    """Longest response in tokens, which then ends with done_reason "length"; 0: no limit but the model's."""
    request_timeout_seconds: Annotated[float, Ge(0)] = 0.0
    """Longest time for a generating request, which then fails; 0 disables it."""
    database_url: Annotated[str, AfterValidator(_check_database_url)] = ""
    """The database of presets, blobs, stored responses and usage: sqlite:///path/file.sqlite3, or
    postgresql://user@host/name for several frontends. Default: drover/presets.sqlite3 in $XDG_STATE_HOME or
    ~/.local/state.
    """
    keys_file: Annotated[str, AfterValidator(check_keys_file)] = ""
    """Keys in addition to the database's: a JSON file, or a folder with a file for each key, as Kubernetes
    mounts a Secret. It is read again when it changes. With it every request needs a key.
    """
    require_keys: bool = False
    """Refuse every request without a valid key, also while there are no keys. Else keys are required from the
    time when the first one is made.
    """
    shared_database: bool = False
    """Set if other frontends serve the same clients, so that the database must be shared: a SQLite file is
    then refused at the start.
    """
    database_timeout_seconds: Annotated[float, Gt(0)] = 5.0
    """Longest time for the database to answer. Served models wait for it only where a response is stored."""
    preset_poll_seconds: Annotated[float, Gt(0)] = 0.25
    """Interval at which changes of presets by other frontends are read."""
    max_presets: Annotated[int, Ge(0)] = 2_000
    """Limit of presets."""
    max_preset_bytes: Annotated[int, Gt(0)] = 256 * 1024
    """Longest preset: system, template, messages, parameters and licences together."""
    max_preset_store_bytes: Annotated[int, Gt(0)] = 64 * 1024 * 1024
    """Limit of all presets together; every frontend keeps them in memory."""
    max_blob_bytes: Annotated[int, Gt(0)] = 16 * 1024 * 1024
    """Longest blob; longer ones are refused with 413, since weights are served by workers."""
    max_blob_store_bytes: Annotated[int, Gt(0)] = 256 * 1024 * 1024
    """Limit of all blobs together."""
    blob_lifetime_seconds: Annotated[float, Gt(0)] = 3600.0
    """Time after which a blob expires."""
    store_responses: bool = False
    """Store responses of /v1/responses in the database unless a request says `store: false`: for
    `previous_response_id`, background responses, and their later retrieval by the same key or address.
    """
    response_lifetime_seconds: Annotated[float, Gt(0)] = 30 * 86400.0
    """Time after which a stored response expires; continuing it begins this time anew."""
    max_stored_responses: Annotated[int, Gt(0)] = 10_000
    """Limit of stored responses; beyond it the oldest of the key or address with most are deleted."""
    max_stored_response_bytes: Annotated[int, Gt(0)] = 8 * 1024 * 1024
    """Longest stored response, its input included; longer ones are answered and not stored."""
    max_response_store_bytes: Annotated[int, Gt(0)] = 1024 * 1024 * 1024
    """Limit of all stored responses together."""
    max_background_responses: Annotated[int, Ge(0)] = 64
    """Limit of responses that this frontend runs in the background, half of it for one key or address;
    further ones are refused as busy.
    """
    usage_days: Annotated[int, Ge(0), Le(36_500)] = 400
    """How long the usage per day, key and model is kept in the database, for /api/usage; 0: it is not
    counted.
    """
    console: bool = True
    """Serve the console, a page with the state of the fleet and a chat, at /console."""
    max_key_metrics: Annotated[int, Ge(0)] = 100
    """Number of keys that have metrics of their own, by name; further ones count as `other`. 0: none has.
    """
    shutdown_grace_seconds: Annotated[float, Ge(0), Le(86400)] = 30.0
    """After SIGTERM: how long in-flight requests may continue."""
    log_format: LogFormat = "auto"
    """auto (text on a terminal, JSON elsewhere), json or text."""
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    """The least important level that is logged."""

    @field_validator("workers")
    @classmethod
    def _valid_workers(cls, workers: list[str], info: ValidationInfo) -> list[str]:
        if not workers and not info.data.get("hosts"):
            raise ValueError("name at least one worker, or a worker host with --hosts")
        return [_check_worker(worker) for worker in workers]

    @field_validator("hosts")
    @classmethod
    def _valid_hosts(cls, hosts: list[str]) -> list[str]:
        for host in hosts:
            if host.startswith(OLLAMA):
                raise ValueError(f"{host!r} is an Ollama server, which is a worker: name it in --workers")
            _check_worker(host)
        return hosts

    @property
    def worker_addresses(self) -> list[str]:
        """The default is meant for a frontend without hosts."""
        is_default = "workers" not in self.model_fields_set
        return [] if self.hosts and is_default else self.workers

    @field_validator("shared_database")
    @classmethod
    def _can_be_shared(cls, shared: bool, info: ValidationInfo) -> bool:
        """Refuse a SQLite file, whose presets others would lack. An invalid URL has its own error."""
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

    @model_validator(mode="after")
    def _whole_tls(self) -> Self:
        files_of(self, "tls_certificate", "tls_key")
        return self

    @model_validator(mode="after")
    def _ordered_keep_alive(self) -> Self:
        if self.min_keep_alive_seconds > self.max_keep_alive_seconds:
            raise ValueError("min_keep_alive_seconds is more than max_keep_alive_seconds")
        return self

    @property
    def keep_alive_bounds(self) -> KeepAliveBounds:
        return KeepAliveBounds(self.min_keep_alive_seconds, self.max_keep_alive_seconds)

    @property
    def tls(self) -> TlsFiles | None:
        """None where HTTP is served without TLS."""
        return files_of(self, "tls_certificate", "tls_key")

    @property
    def database(self) -> DatabaseUrl:
        return parse_url(self.database_url or _default_database_url())

    @property
    def virtual_models(self) -> Mapping[str, VirtualModel]:
        """The operator's virtual models, by the keys of their names."""
        return virtual_models(self.smart_routers)

    @property
    def held_body_limit_bytes(self) -> int:
        """At least twice the longest body, since one address may use half."""
        return max(self.max_held_body_bytes, 2 * self.max_body_bytes)

    @property
    def request_deadline_seconds(self) -> float | None:
        """None if disabled."""
        return self.request_timeout_seconds or None
