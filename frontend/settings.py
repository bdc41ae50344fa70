"""Everything that can be set about a frontend."""

from __future__ import annotations

from typing import Annotated, Literal

from annotated_types import Ge, Gt, Le
from pydantic import AfterValidator, Field, field_validator
from pydantic_settings import SettingsConfigDict

from drover.logs import LogFormat
from drover.settings import CommaList, ProcessSettings, TcpAddress, check_address


def _check_version(value: str) -> str:
    if len(value.split(".")) != 3 or not all(part.isdecimal() for part in value.split(".")):
        raise ValueError("it must be MAJOR.MINOR.PATCH in digits, since clients compare it")
    return value


class FrontendSettings(ProcessSettings):
    """Protocol dialects over HTTP, in front of a fleet of workers."""

    model_config = SettingsConfigDict(env_prefix="DROVER_FRONTEND_", cli_prog_name="python -m frontend")

    listen: TcpAddress = "127.0.0.1:11434"
    """Where to serve HTTP: host:port."""
    workers: CommaList = Field(default=["127.0.0.1:50051"])
    """Addresses of the engine workers, with commas between them: host:port or unix:/path."""
    ollama_version: Annotated[str, AfterValidator(_check_version)] = "0.33.0"
    """The version that /api/version reports; clients switch features by it."""
    max_body_bytes: Annotated[int, Gt(0)] = 100 * 1024 * 1024
    """Longest request body; longer ones are refused with 413."""
    body_timeout_seconds: Annotated[float, Gt(0)] = 300.0
    """Longest time for a request body to arrive."""
    max_output_tokens: Annotated[int, Ge(0)] = 0
    """Longest answer, which then ends with done_reason "length"; 0: no limit but the model's."""
    request_timeout_seconds: Annotated[float, Ge(0)] = 0.0
    """Longest time for a generating request, after which it is ended with an error; 0: none."""
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
        return [check_address(worker) for worker in workers]
