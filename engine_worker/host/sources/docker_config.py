"""Credentials of registries, from the file that `docker login` writes."""

from __future__ import annotations

import base64
import binascii
import logging
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import orjson

from drover import logs

_log = logging.getLogger("drover.host")
_FILE = "config.json"
_MAX_BYTES = 1024 * 1024
_DOCKER_HUB = frozenset({"docker.io", "index.docker.io", "registry-1.docker.io"})


@dataclass(frozen=True, slots=True)
class Credentials:
    """`identity_token`: in place of a password, from registries that give one."""

    user: str
    password: str = field(repr=False)
    identity_token: str = field(default="", repr=False)

    @property
    def basic(self) -> str:
        """The value of an Authorization header."""
        return "Basic " + base64.b64encode(f"{self.user}:{self.password}".encode()).decode()


class DockerConfig:
    """$DOCKER_CONFIG/config.json, else ~/.docker/config.json. Read whenever it is asked, so that a `docker
    login` counts at once. Credential helpers, which are programs, are not run. Blocks.
    """

    def find(self, host: str) -> Credentials | None:
        """`host`: with the port, if it has one. None if the file has none for it."""
        for key, entry in _mapping(_read(), "auths").items():
            if isinstance(entry, dict) and _is_of(key, host):
                return _credentials(entry)
        return None

    def helper_of(self, host: str) -> str:
        """The credential helper that has the host's credentials; empty if none is named."""
        document = _read()
        for key, name in _mapping(document, "credHelpers").items():
            if _is_of(key, host):
                return str(name)
        return str(document.get("credsStore") or "")


def _is_of(key: str, host: str) -> bool:
    """Docker's keys are hosts, and for its own hub a URL."""
    named = key.partition("://")[2] or key
    named = named.partition("/")[0].casefold()
    return named == host.casefold() or {named, host.casefold()} <= _DOCKER_HUB


def _credentials(entry: Mapping[str, object]) -> Credentials | None:
    user, password = _text(entry, "username"), _text(entry, "password")
    try:
        encoded = base64.b64decode(_text(entry, "auth"), validate=True).decode()
    except (binascii.Error, UnicodeDecodeError):
        encoded = ""
    if ":" in encoded:
        user, _, password = encoded.partition(":")
    token = _text(entry, "identitytoken")
    return Credentials(user, password, token) if token or (user and password) else None


def _read() -> Mapping[str, object]:
    """Empty, with a log line where there is a file that cannot be read."""
    path = Path(os.environ.get("DOCKER_CONFIG") or Path.home() / ".docker") / _FILE
    try:
        with path.open("rb") as file:
            document = orjson.loads(file.read(_MAX_BYTES))
    except FileNotFoundError:
        return {}
    except (OSError, orjson.JSONDecodeError) as error:
        # The words of a JSON error name a position, and none of the text.
        logs.event(
            _log,
            logging.WARNING,
            "credentials of registries cannot be read",
            path=str(path),
            reason=str(error),
        )
        return {}
    return document if isinstance(document, dict) else {}


def _mapping(document: Mapping[str, object], key: str) -> Mapping[str, object]:
    found = document.get(key)
    return found if isinstance(found, dict) else {}


def _text(entry: Mapping[str, object], key: str) -> str:
    value = entry.get(key)
    return value if isinstance(value, str) else ""
