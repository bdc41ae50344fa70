"""Sessions of the console: a signed cookie in place of the key, which the browser need not keep.

The signature is made with a digest that is stored of the key, so every frontend that knows the key accepts
the session and none has to keep it; it ends with the key, when the key is rotated, and after `SECONDS`. One
that is logged out is kept until then: with its key in the database, for all frontends. Who can read the
stored digests could sign sessions, but not learn a key: docs/console.md says what that means.
"""

from __future__ import annotations

import hmac
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from hashlib import sha256
from urllib.parse import quote, unquote

from frontend.access.key import Key
from frontend.access.keys import Keys
from frontend.access.stored_key import EndedSession, StoredKey

COOKIE = "drover_console"
PATHS = "/console"
SECONDS = 12 * 3600
_PURPOSE = b"drover console session "
_MAX_COOKIE_BYTES = 4096
_ID_BYTES = 12
_PARTS = 4
_MAX_ENDED = 10_000
_OWN_FETCHES = (b"", b"same-origin", b"none")


@dataclass(frozen=True, slots=True)
class Session:
    """`expires_unix`: when the key has to be sent again; `digest`: what it is signed with. `id`: random, no
    secret.
    """

    key: Key
    expires_unix: float
    digest: str = field(repr=False)
    id: str


class Sessions:
    """`now`: unix time."""

    def __init__(self, keys: Keys, now: Callable[[], float] = time.time) -> None:
        self._keys = keys
        self._now = now
        self._ended: dict[str, float] = {}
        """Sessions that were logged out here, and when they would have ended."""

    def sign(self, key: Key) -> str:
        """A new session's token. Raises StoreUnavailable."""
        expires = str(int(self._now()) + SECONDS)
        stored = self._keys.find(key.id)
        digests = stored.signing_texts(self._now()) if stored else []
        if not digests:
            raise ValueError(f"the key {key.id} has no digest")
        # Of a key that is being rotated, the digest that ends first: the session ends with its secret.
        session_id = secrets.token_hex(_ID_BYTES)
        # The id of a file's key may be any text.
        quoted = quote(key.id, safe="")
        return f"{quoted}_{expires}_{session_id}_{_signature(digests[-1], key.id, expires, session_id)}"

    def find(self, headers: list[tuple[bytes, bytes]]) -> Session | None:
        """The session of a request's cookie; None without a valid one. Raises StoreUnavailable."""
        if _fetched_from(headers) not in _OWN_FETCHES:
            # Another page's request, also of the same host on another port, to which SameSite is blind.
            return None
        parts = _cookie(headers).rsplit("_", 3)
        if len(parts) != _PARTS:
            return None
        quoted, expires, session_id, signature = parts
        key_id = unquote(quoted)
        if not (expires.isdecimal() and int(expires) > self._now()):
            return None
        stored = self._keys.find(key_id)
        if stored is None or stored.state(self._now()) != "active":
            return None
        for digest in stored.signing_texts(self._now()):
            if hmac.compare_digest(_signature(digest, key_id, expires, session_id), signature):
                session = Session(stored.key, float(expires), digest, session_id)
                return None if self._has_ended(session, stored) else session
        return None

    async def end(self, session: Session) -> None:
        """Refuse the session from now on, on other frontends within two seconds where the database has its
        key. Raises StoreUnavailable; here it has ended all the same.
        """
        now = self._now()
        kept = [(each, until) for each, until in self._ended.items() if until > now]
        self._ended = dict([*kept, (session.id, session.expires_unix)][-_MAX_ENDED:])
        ended = EndedSession(id=session.id, until_unix=session.expires_unix)
        await self._keys.database.end_session(session.key.id, ended, now)

    def is_current(self, session: Session) -> bool:
        """Whether it is still as it was found: not expired, and the key neither revoked, rotated nor
        changed.
        """
        stored = self._keys.known(session.key.id)
        if stored is None or stored.state(self._now()) != "active" or self._has_ended(session, stored):
            return False
        is_signed = session.digest in stored.signing_texts(self._now())
        return is_signed and stored.key == session.key and session.expires_unix > self._now()

    def _has_ended(self, session: Session, stored: StoredKey) -> bool:
        return session.id in self._ended or session.id in stored.ended_sessions


def cookie_header(token: str, is_secure: bool, seconds: int = SECONDS) -> str:
    """The Set-Cookie of a session; an empty token with 0 seconds ends it."""
    flags = f"Path={PATHS}; Max-Age={seconds}; HttpOnly; SameSite=Strict"
    return f"{COOKIE}={token}; {flags}" + ("; Secure" if is_secure else "")


def _signature(digest: str, key_id: str, expires: str, session_id: str) -> str:
    signing = sha256(_PURPOSE + digest.encode()).digest()
    return hmac.new(signing, f"{key_id} {expires} {session_id}".encode(), sha256).hexdigest()


def _cookie(headers: list[tuple[bytes, bytes]]) -> str:
    """By hand: cookies of other servers of the host come too, in whatever form."""
    for name, value in headers:
        if name == b"cookie" and len(value) <= _MAX_COOKIE_BYTES:
            for pair in value.decode("latin-1").split(";"):
                key, _, text = pair.strip().partition("=")
                if key == COOKIE and text.isascii():
                    return text
    return ""


def _fetched_from(headers: list[tuple[bytes, bytes]]) -> bytes:
    return next((value for name, value in headers if name == b"sec-fetch-site"), b"")
