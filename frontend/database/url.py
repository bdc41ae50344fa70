"""Parses the database's URL, when the frontend starts."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import parse_qs, unquote

_SQLITE = "sqlite"
_POSTGRESQL = "postgresql"
_KINDS = {
    _SQLITE: _SQLITE,
    _POSTGRESQL: _POSTGRESQL,
    "postgres": _POSTGRESQL,
    # As configurations of SQLAlchemy name them.
    "sqlite+aiosqlite": _SQLITE,
    "postgresql+asyncpg": _POSTGRESQL,
}
_URL = re.compile(
    r"(?P<kind>[\w+]+)://"
    # A password may have any character but an @, as in libpq.
    r"(?:(?P<user>[^:/@]*)(?::(?P<password>[^@]*))?@)?"
    r"(?:\[(?P<ipv6>[^/?\]]+)\]|(?P<host>[^:/?]*))(?::(?P<port>[0-9]{0,5}))?"
    r"(?:/(?P<database>[^?]*))?(?:\?(?P<options>.*))?",
    re.DOTALL,
)
# Named as in libpq's URLs. `host`: a folder of sockets.
_OPTIONS = ("application_name", "host", "sslmode")
_SSL_MODES = ("disable", "allow", "prefer", "require", "verify-ca", "verify-full")


@dataclass(frozen=True, slots=True)
class DatabaseUrl:
    """`database`: a file's path or a database's name. `connect_args`: options as driver arguments."""

    kind: str
    database: str
    user: str | None = None
    password: str | None = field(default=None, repr=False)
    host: str | None = None
    port: int | None = None
    connect_args: Mapping[str, object] = field(default_factory=dict)

    def __str__(self) -> str:
        """The URL without the password, for logs."""
        host = f"[{self.host}]" if self.host and ":" in self.host else self.host or ""
        who = f"{self.user}{':***' if self.password else ''}@" if self.user else ""
        port = f":{self.port}" if self.port else ""
        return f"{self.kind}://{who}{host}{port}/{self.database}"

    @property
    def is_sqlite(self) -> bool:
        return self.kind == _SQLITE


def parse_url(text: str) -> DatabaseUrl:
    """Parse `sqlite:///path` or `postgresql://user@host/name?sslmode=require`. Raises ValueError, whose text
    never has the password.
    """
    found = _URL.fullmatch(text)
    if found is None:
        raise ValueError("it must be like sqlite:///path/file.sqlite3 or postgresql://user@host/name")
    kind = _KINDS.get(found["kind"])
    if kind is None:
        raise ValueError(f"there is no driver for {found['kind']}; use sqlite or postgresql")
    options = parse_qs(found["options"] or "", keep_blank_values=True)
    known = () if kind == _SQLITE else _OPTIONS
    if unknown := sorted(set(options) - set(known)):
        offered = f"use {', '.join(known)}" if known else "a file takes none"
        raise ValueError(f"there is no option {', '.join(unknown)}; {offered}")
    return DatabaseUrl(
        kind,
        found["database"] or "",
        _unquoted(found["user"]),
        _unquoted(found["password"]),
        found["ipv6"] or found["host"] or None,
        int(found["port"]) if found["port"] else None,
        _connect_args({name: values[-1] for name, values in options.items()}),
    )


def _unquoted(text: str | None) -> str | None:
    return unquote(text) if text else None


def _connect_args(options: Mapping[str, str]) -> Mapping[str, object]:
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
