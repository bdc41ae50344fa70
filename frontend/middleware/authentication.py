"""Requires a key, where keys are used, and that its role may use the route."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

from starlette.responses import Response
from starlette.routing import BaseRoute
from starlette.types import ASGIApp, Receive, Scope, Send

from drover.errors import DroverError, NeverRetry, NotAuthenticated, NotPermitted
from frontend.access.console_session import PATHS, Session, Sessions
from frontend.access.credentials import BadCredentials, secrets_of
from frontend.access.current_key import set_current_key
from frontend.access.keep_alive import KeepAliveBounds, set_keep_alive_bounds
from frontend.access.key import Key, Role
from frontend.access.key_checker import KeyChecker
from frontend.access.keys import Keys
from frontend.access.route_roles import OPEN_ROUTES, access_of
from frontend.observability.request_record import record_of

_MISSING = (
    "this server needs a key: send it as 'Authorization: Bearer KEY' (Ollama's Python library does so with "
    "the variable OLLAMA_API_KEY), as 'x-api-key: KEY', or as the password of basic authentication"
)
_CHALLENGE = 'Bearer realm="drover"'


class Authentication:
    """ASGI middleware. Sets the key of the request's record, whose client it becomes.

    `sessions`: of the console; `routes`: of the application. `respond`: makes the response to a path's failed
    request. `keep_alive_bounds`: of keys that are no admin's.
    """

    def __init__(
        self,
        app: ASGIApp,
        keys: Keys,
        checker: KeyChecker,
        sessions: Sessions,
        routes: Sequence[BaseRoute],
        respond: Callable[[Scope, DroverError], Response],
        keep_alive_bounds: KeepAliveBounds,
    ) -> None:
        self._app = app
        self._keys = keys
        self._checker = checker
        self._sessions = sessions
        self._routes = routes
        self._respond = respond
        self._keep_alive_bounds = keep_alive_bounds

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        """Not a coroutine: without keys a request passes at the cost of one call."""
        if self._keys.are_open or scope["type"] != "http" or (scope["method"], scope["path"]) in OPEN_ROUTES:
            return self._app(scope, receive, send)
        return self._checked(scope, receive, send)

    async def _checked(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            key = await self._key_of(scope)
        except DroverError as error:
            record_of(scope).record_error(error)
            response = self._respond(scope, error)
            if isinstance(error, NotAuthenticated):
                response.headers["www-authenticate"] = _CHALLENGE
            if isinstance(error, NeverRetry):
                # Else Claude Code retries for more than 40 seconds (findings/claude_code_repeats_401.sh).
                response.headers["x-should-retry"] = "false"
            await response(scope, receive, send)
            return
        set_current_key(key)
        set_keep_alive_bounds(None if key.role is Role.ADMIN else self._keep_alive_bounds)
        await self._app(scope, receive, send)

    async def _key_of(self, scope: Scope) -> Key:
        """Raises NotAuthenticated, NotPermitted, QueueFull, and StoreUnavailable if keys cannot be read."""
        try:
            presented = secrets_of(scope["headers"])
        except BadCredentials as error:
            raise NotAuthenticated(str(error)) from None
        record = record_of(scope)
        if presented:
            key = await self._checker.check(presented, record.address)
        elif (session := self._session_of(scope)) is not None:
            key = session.key
        else:
            self._keys.check_required()
            raise NotAuthenticated(_MISSING)
        record.key, record.client = key, key.id
        record.fields["key"] = key.id
        needed = access_of(self._routes, scope)
        if not needed.allows(key.role):
            raise NotPermitted(
                f"the key '{key.name}' has the role {key.role}, and {scope['method']} {scope['path']} is for "
                f"{needed.value}"
            )
        return key

    def _session_of(self, scope: Scope) -> Session | None:
        """The console's, which counts on its own paths only. Raises StoreUnavailable."""
        is_console = scope["path"].startswith(f"{PATHS}/")
        return self._sessions.find(scope["headers"]) if is_console else None
