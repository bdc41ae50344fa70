"""A key with what is stored of it: digests of its secrets, and when it was made and revoked."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from typing import Annotated

from annotated_types import Ge, Gt, Le, Len
from pydantic import AfterValidator, BaseModel, ConfigDict, ValidationError

from drover.json_value import Json
from frontend.access.key import Key, KeyLimits, Role
from frontend.access.secret import check_digest

_MAX_NAME, _MAX_PATTERN, _MAX_PATTERNS, _MAX_DIGESTS = 200, 600, 1000, 4
_MAX_SESSION_ID = 64
# Of one key within the life of a session; the oldest are forgotten.
MAX_ENDED_SESSIONS = 256
_LATEST_UNIX = 32_503_680_000.0  # The year 3000.


def _check_name(text: str) -> str:
    if not text.isprintable() or text != text.strip():
        raise ValueError("it must be printable, without spaces around it")
    return text


def _check_pattern(text: str) -> str:
    if not text.isprintable() or " " in text or "," in text:
        raise ValueError(f"{text!r} is no pattern of model names, like qwen3*")
    return text


def _check_finite(value: float | None) -> float | None:
    if value is not None and not math.isfinite(value):
        raise ValueError("it must be a finite number")
    return value


Count = Annotated[int, Gt(0), Le(10**12)]
UnixSeconds = Annotated[float, AfterValidator(_check_finite), Ge(0), Le(_LATEST_UNIX)]


class KeySettings(BaseModel):
    """What an operator sets, with the names of files and of the stored document. Unknown fields of a document
    are a later version's, and ignored.
    """

    model_config = ConfigDict(use_enum_values=False)

    name: Annotated[str, Len(1, _MAX_NAME), AfterValidator(_check_name)]
    role: Role = Role.USER
    models: Annotated[
        tuple[Annotated[str, Len(1, _MAX_PATTERN), AfterValidator(_check_pattern)], ...],
        Len(0, _MAX_PATTERNS),
    ] = ()
    requests_per_minute: Count | None = None
    tokens_per_minute: Count | None = None
    streams: Count | None = None
    priority: Annotated[int, Ge(-100), Le(100)] | None = None
    weight: Annotated[float, Gt(0), Le(1000)] = 1.0
    expires_unix: UnixSeconds | None = None

    def as_key(self, key_id: str) -> Key:
        return Key(
            id=key_id,
            name=self.name,
            role=self.role,
            models=self.models,
            limits=KeyLimits(self.requests_per_minute, self.tokens_per_minute, self.streams),
            priority=self.priority,
            weight=self.weight,
            expires_unix=self.expires_unix,
        )


class Digest(BaseModel):
    """`until_unix`: the end of a secret's grace period; None while it is the current one."""

    model_config = ConfigDict(frozen=True)

    text: Annotated[str, AfterValidator(check_digest)]
    until_unix: UnixSeconds | None = None

    def is_valid(self, now: float) -> bool:
        return self.until_unix is None or now < self.until_unix


class EndedSession(BaseModel):
    """A session of the console that was logged out before its time. `id`: see console_session.py."""

    model_config = ConfigDict(frozen=True)

    id: Annotated[str, Len(1, _MAX_SESSION_ID)]
    until_unix: UnixSeconds
    """When it would have ended."""


class KeyDocument(KeySettings):
    """The document of a row."""

    digests: Annotated[tuple[Digest, ...], Len(0, _MAX_DIGESTS)] = ()
    created_unix: UnixSeconds = 0.0
    revoked_unix: UnixSeconds | None = None
    ended_sessions: Annotated[tuple[EndedSession, ...], Len(0, MAX_ENDED_SESSIONS)] = ()


@dataclass(frozen=True, slots=True)
class StoredKey:
    key: Key
    digests: tuple[Digest, ...]
    created_unix: float = 0.0
    revoked_unix: float | None = None
    plain_digest: str = ""
    """Of a secret that a file has as it is, in place of `digests`. It is not stored."""
    ended_sessions: frozenset[str] = frozenset()

    @classmethod
    def of(cls, key_id: str, document: KeyDocument) -> StoredKey:
        return cls(
            document.as_key(key_id),
            document.digests,
            document.created_unix,
            document.revoked_unix,
            ended_sessions=frozenset(each.id for each in document.ended_sessions),
        )

    def valid_digests(self, now: float) -> list[str]:
        """Those that a secret may have now."""
        if self.revoked_unix is not None:
            return []
        return [digest.text for digest in self.digests if digest.is_valid(now)]

    def signing_texts(self, now: float) -> list[str]:
        """What only servers with this key know, the same on all of them, newest first."""
        return self.valid_digests(now) or ([self.plain_digest] if self.plain_digest else [])

    def state(self, now: float | None = None) -> str:
        """In one word, for lists."""
        if self.revoked_unix is not None:
            return "revoked"
        expires = self.key.expires_unix
        return "expired" if expires is not None and expires <= (now or time.time()) else "active"

    def described(self) -> dict[str, Json]:
        """For lists in JSON, without secrets and times."""
        key, limits = self.key, self.key.limits
        return {
            "id": key.id,
            "name": key.name,
            "role": key.role.value,
            "state": self.state(),
            "models": list(key.models),
            "requests_per_minute": limits.requests_per_minute,
            "tokens_per_minute": limits.tokens_per_minute,
            "streams": limits.streams,
            "priority": key.priority,
            "weight": key.weight,
        }


def first_problem(error: ValidationError) -> str:
    """The first problem in words, with its field and without its value, which may be a secret."""
    first = error.errors(include_url=False, include_context=False, include_input=False)[0]
    where = ".".join(map(str, first["loc"]))
    text = first["msg"].removeprefix("Value error, ")
    return f"{where}: {text}" if where else text
