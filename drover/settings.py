"""Settings of a process: each field is a flag and an environment variable, validated before it starts."""

from __future__ import annotations

import json
import sys
from argparse import ArgumentParser
from pathlib import Path
from typing import Annotated, ClassVar, Self

from pydantic import AfterValidator, BeforeValidator, ValidationError
from pydantic.fields import FieldInfo
from pydantic_settings import (
    BaseSettings,
    CliApp,
    CliSettingsSource,
    NoDecode,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    SettingsError,
)

from drover import __version__
from drover.ollama_environment import OllamaEnvironment, OllamaVariable
from drover.redaction import redacted


def split_commas(value: object) -> object:
    """Parse a list given by a flag or an environment variable: JSON, or separated by commas."""
    if isinstance(value, str):
        text = value.strip()
        if text.startswith('["'):
            return json.loads(text)
        return [word.strip() for word in text.split(",") if word.strip()]
    return value


def check_address(value: str) -> str:
    """`host:port`, IPv6 hosts in brackets, port 0 for any free one; or `unix:/path`."""
    if value.startswith("unix:"):
        return value
    return check_tcp_address(value)


def check_tcp_address(value: str) -> str:
    host, colon, port = value.rpartition(":")
    if not colon or not host or "/" in host or not port.isdecimal() or int(port) > 65535:
        raise ValueError("it must be host:port, for example 127.0.0.1:50051")
    return value


TcpAddress = Annotated[str, AfterValidator(check_tcp_address)]
CommaList = Annotated[list[str], NoDecode, BeforeValidator(split_commas)]
Address = Annotated[str, AfterValidator(check_address)]


def split_address(address: str) -> tuple[str, int]:
    host, _, port = address.rpartition(":")
    return host.strip("[]"), int(port)


def with_port(host: str, port: int) -> str:
    """The reverse of `split_address`."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _print(problem: str) -> None:
    """Write to standard error: logging is not configured yet, its settings are among those being read."""
    sys.stderr.write(f"{problem}\n")


def _program(module: str | None) -> str | None:
    """Name for the usage line: the console script if the process was started by one, else `module`."""
    script = Path(sys.argv[0]).name
    return script if script.startswith("drover-") else module


class ProcessSettings(BaseSettings):
    """Base of both tiers' settings. Immutable.

    Precedence: flags, DROVER_* environment variables, Ollama's environment variables, defaults.
    """

    ollama_variables: ClassVar[tuple[OllamaVariable, ...]] = ()

    model_config = SettingsConfigDict(
        frozen=True,
        extra="forbid",
        env_ignore_empty=True,
        cli_kebab_case=True,
        cli_implicit_flags=True,
        cli_avoid_json=True,
        cli_hide_none_type=True,
        protected_namespaces=(),
        use_attribute_docstrings=True,
    )

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        return init_settings, env_settings, OllamaEnvironment(settings_cls, cls.ollama_variables)

    @classmethod
    def load(cls, argv: list[str]) -> Self:
        """Read flags and environment. Exit with status 2, naming the setting, if a value is invalid."""
        try:
            return CliApp.run(cls, cli_args=argv, cli_settings_source=cls._command_line())
        except ValidationError as error:
            for problem in error.errors():
                name = str(problem["loc"][0]) if problem["loc"] else ""
                reason = problem["msg"].removeprefix("Value error, ")
                # A URL may contain a password.
                shown = f" (it is {problem['input']!r})" if name and not name.endswith("_url") else ""
                _print(redacted(f"{cls.names_of(name)}: {reason}{shown}"))
        except SettingsError as error:
            _print(f"settings: {error}")
        raise SystemExit(2)

    @classmethod
    def _command_line(cls) -> CliSettingsSource[ArgumentParser]:
        source = CliSettingsSource[ArgumentParser](
            cls, cli_prog_name=_program(cls.model_config.get("cli_prog_name"))
        )
        source.root_parser.add_argument("--version", action="version", version=f"drover {__version__}")
        return source

    @classmethod
    def names_of(cls, field: str) -> str:
        if field not in cls.model_fields:
            return cls.flag(field) if field else "settings"
        ollama = "".join(f" or {name}" for name in cls.ollama_names_of(field))
        return f"{cls.flag(field)} ({cls.environment_variable(field)}){ollama}"

    @classmethod
    def ollama_names_of(cls, field: str) -> list[str]:
        return [variable.name for variable in cls.ollama_variables if variable.field == field]

    @classmethod
    def flag(cls, field: str) -> str:
        return f"--{field.replace('_', '-')}"

    @classmethod
    def environment_variable(cls, field: str) -> str:
        return f"{cls.model_config.get('env_prefix', '')}{field}".upper()

    @classmethod
    def documented(cls) -> list[tuple[str, FieldInfo]]:
        return list(cls.model_fields.items())
