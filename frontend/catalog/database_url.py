"""Where the database is: checked when the frontend starts, not when somebody needs it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from sqlalchemy import make_url
from sqlalchemy.engine import URL
from sqlalchemy.exc import ArgumentError

_DRIVERS = {
    "sqlite": "sqlite+aiosqlite",
    "postgresql": "postgresql+asyncpg",
    "postgres": "postgresql+asyncpg",
}
# As in libpq's URLs, whose names people know. `host`: a folder of sockets.
_OPTIONS = ("application_name", "host", "sslmode")
_SSL_MODES = ("disable", "allow", "prefer", "require", "verify-ca", "verify-full")


@dataclass(frozen=True, slots=True)
class DatabaseUrl:
    """`url` without options; `connect_args`: what they mean to the driver."""

    url: URL
    connect_args: Mapping[str, object] = field(default_factory=dict)

    def __str__(self) -> str:
        return self.url.render_as_string(hide_password=True)

    @property
    def is_sqlite(self) -> bool:
        return self.url.get_backend_name() == "sqlite"


def parse_url(text: str) -> DatabaseUrl:
    """Of `sqlite:///path` or `postgresql://user@host/name?sslmode=require`. Raises ValueError for others,
    without repeating what may be a password.
    """
    try:
        url = make_url(text)
    except (ArgumentError, ValueError):
        raise ValueError(
            "it must be like sqlite:///path/file.sqlite3 or postgresql://user@host/name"
        ) from None
    driver = _DRIVERS.get(url.drivername, url.drivername)
    if driver not in _DRIVERS.values():
        raise ValueError(f"there is no driver for {url.drivername}; use sqlite or postgresql")
    options = url.query
    known = () if driver == _DRIVERS["sqlite"] else _OPTIONS
    if unknown := sorted(set(options) - set(known)):
        offered = f"use {', '.join(known)}" if known else "a file takes none"
        raise ValueError(f"there is no option {', '.join(unknown)}; {offered}")
    return DatabaseUrl(url.set(drivername=driver, query={}), _connect_args(options))


def _connect_args(options: Mapping[str, tuple[str, ...] | str]) -> Mapping[str, object]:
    connect_args: dict[str, object] = {}
    if (mode := options.get("sslmode")) is not None:
        if mode not in _SSL_MODES:
            raise ValueError(f"sslmode must be one of {', '.join(_SSL_MODES)}")
        connect_args["ssl"] = mode
    if host := options.get("host"):
        connect_args["host"] = host
    if name := options.get("application_name"):
        connect_args["server_settings"] = {"application_name": name}
    return connect_args
