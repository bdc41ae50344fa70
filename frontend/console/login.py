"""Login with a key, logout, and who looks."""

from __future__ import annotations

import logging

import orjson
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from drover import logs
from drover.errors import BodyTooLarge, ClientLeft, InvalidRequest, StoreUnavailable
from drover.json_value import Json
from frontend.access.console_session import Sessions, cookie_header
from frontend.access.key import Key, Role
from frontend.access.key_checker import KeyChecker
from frontend.access.keys import Keys
from frontend.console.page_files import json_response
from frontend.console.same_origin import check_own_page, is_behind_tls
from frontend.observability.request_record import record_of

_log = logging.getLogger("drover.console")
# A key has 512 bytes at most.
_MAX_BODY_BYTES = 4096


class Login:
    """The page sends the key once and gets a cookie, which its scripts cannot read."""

    def __init__(self, keys: Keys, sessions: Sessions, checker: KeyChecker) -> None:
        self._keys = keys
        self._sessions = sessions
        self._checker = checker

    async def session(self, http: Request) -> Response:
        """Whether a login is needed; if not, as whom the page is seen."""
        if self._keys.are_open:
            return json_response({"keys": False, "login": False, "role": Role.ADMIN.value, "name": ""})
        self._keys.check_required()
        found = self._sessions.find(http.scope["headers"])
        return json_response({"keys": True, "login": True} if found is None else _who(found.key))

    async def login(self, http: Request) -> Response:
        """Raises NotAuthenticated after a fixed time, as for any wrong key."""
        check_own_page(http)
        secret = await _key_in(http)
        key = await self._checker.check([secret.encode()], record_of(http.scope).address)
        record_of(http.scope).fields["key"] = key.id
        response = json_response(_who(key))
        response.headers["set-cookie"] = cookie_header(self._sessions.sign(key), is_behind_tls(http))
        return response

    async def logout(self, http: Request) -> Response:
        """A copy of the cookie is refused, too."""
        check_own_page(http)
        try:
            session = self._sessions.find(http.scope["headers"])
            if session is not None:
                await self._sessions.end(session)
        except StoreUnavailable as error:
            reason = str(error.__cause__ or error)
            logs.event(_log, logging.WARNING, "a session ends on this frontend only", reason=reason)
        response = json_response({})
        response.headers["set-cookie"] = cookie_header("", is_behind_tls(http), seconds=0)
        return response


def _who(key: Key) -> Json:
    return {"keys": True, "login": False, "role": key.role.value, "name": key.name}


async def _key_in(http: Request) -> str:
    """The body's key. Raises InvalidRequest, BodyTooLarge and ClientLeft."""
    body = b""
    try:
        async for chunk in http.stream():
            body += chunk
            if len(body) > _MAX_BODY_BYTES:
                raise BodyTooLarge(f"a login has at most {_MAX_BODY_BYTES} bytes")
    except ClientDisconnect:
        raise ClientLeft("request canceled") from None
    try:
        found = orjson.loads(body)
    except orjson.JSONDecodeError:
        found = None
    key = found.get("key") if isinstance(found, dict) else None
    if not isinstance(key, str) or not key.strip():
        raise InvalidRequest('a login is a JSON object with the key: {"key": "drv_..."}')
    return key.strip()
