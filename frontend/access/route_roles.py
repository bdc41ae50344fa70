"""Which key each route needs, by method and path. The application does not start if a route is missing.

A path that is not here, and a method that a path lacks, need a key too: without one a client learns nothing
of what there is.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from enum import Enum

from fastapi.routing import APIRoute
from starlette.routing import BaseRoute, Match
from starlette.types import Scope

from frontend.access.key import Role


class Access(Enum):
    """Who may use a route, where keys are used."""

    OPEN = "everybody, also without a key"
    ANY = "a key of any role"
    USER = "keys with the role user or admin"
    METRICS = "keys with the role metrics or admin"
    ADMIN = "keys with the role admin"

    def allows(self, role: Role) -> bool:
        return self in (Access.OPEN, Access.ANY) or role in _ROLES[self]


_ROLES: Mapping[Access, frozenset[Role]] = {
    Access.USER: frozenset({Role.USER, Role.ADMIN}),
    Access.METRICS: frozenset({Role.METRICS, Role.ADMIN}),
    Access.ADMIN: frozenset({Role.ADMIN}),
}

CONSOLE_FILES = (
    "access.js",
    "chat.js",
    "console.css",
    "dom.js",
    "fleet.js",
    "format.js",
    "icon.svg",
    "main.js",
    "plot.js",
    "stream.js",
    "usage.js",
)

ROUTES: Mapping[tuple[str, str], Access] = {
    # What probes, load balancers and clients ask before they send a key. It says only that a server is here.
    ("GET", "/"): Access.OPEN,
    ("HEAD", "/"): Access.OPEN,
    ("GET", "/api/version"): Access.OPEN,
    ("HEAD", "/api/version"): Access.OPEN,
    ("GET", "/healthz"): Access.OPEN,
    ("HEAD", "/healthz"): Access.OPEN,
    ("GET", "/readyz"): Access.OPEN,
    ("HEAD", "/readyz"): Access.OPEN,
    # The console's page, which has nothing of the fleet in it, and the way to a session.
    **{
        (method, path): Access.OPEN
        for method in ("GET", "HEAD")
        for path in ("/console", *(f"/console/{name}" for name in CONSOLE_FILES))
    },
    ("GET", "/console/session"): Access.OPEN,
    ("POST", "/console/login"): Access.OPEN,
    ("POST", "/console/logout"): Access.OPEN,
    # What the page shows, for each role in its own detail, and its chat.
    ("GET", "/console/events"): Access.ANY,
    ("GET", "/console/models"): Access.USER,
    ("POST", "/console/chat"): Access.USER,
    ("GET", "/console/keys"): Access.ADMIN,
    ("GET", "/console/usage"): Access.ANY,
    # What this server is and does.
    ("GET", "/openapi.json"): Access.ANY,
    ("HEAD", "/openapi.json"): Access.ANY,
    ("GET", "/api/status"): Access.ANY,
    ("GET", "/metrics"): Access.METRICS,
    # Keys see their own usage, those of an admin all of it.
    ("GET", "/api/usage"): Access.ANY,
    # Reading about models.
    ("GET", "/api/tags"): Access.USER,
    ("HEAD", "/api/tags"): Access.USER,
    ("GET", "/api/ps"): Access.USER,
    ("POST", "/api/show"): Access.USER,
    ("GET", "/v1/models"): Access.USER,
    ("GET", "/v1/models/{id:path}"): Access.USER,
    ("GET", "/api/experimental/model-recommendations"): Access.USER,
    # Generating.
    ("POST", "/api/chat"): Access.USER,
    ("POST", "/api/generate"): Access.USER,
    ("POST", "/v1/chat/completions"): Access.USER,
    ("POST", "/v1/completions"): Access.USER,
    ("POST", "/v1/messages"): Access.USER,
    ("POST", "/v1/messages/count_tokens"): Access.USER,
    ("POST", "/v1/responses"): Access.USER,
    ("POST", "/v1/responses/compact"): Access.USER,
    ("POST", "/v1/responses/input_tokens"): Access.USER,
    ("POST", "/v1/audio/transcriptions"): Access.USER,
    ("GET", "/api/queue"): Access.USER,
    # A key's own stored responses.
    ("GET", "/v1/responses/{id}"): Access.USER,
    ("DELETE", "/v1/responses/{id}"): Access.USER,
    ("POST", "/v1/responses/{id}/cancel"): Access.USER,
    ("GET", "/v1/responses/{id}/input_items"): Access.USER,
    # Embeddings, scores, decisions and tokens.
    ("POST", "/api/embed"): Access.USER,
    ("POST", "/api/embeddings"): Access.USER,
    ("POST", "/v1/embeddings"): Access.USER,
    ("POST", "/rerank"): Access.USER,
    ("POST", "/v1/rerank"): Access.USER,
    ("POST", "/v2/rerank"): Access.USER,
    ("POST", "/score"): Access.USER,
    ("POST", "/v1/score"): Access.USER,
    ("POST", "/classify"): Access.USER,
    ("POST", "/v1/classify"): Access.USER,
    ("POST", "/v1/systemone"): Access.USER,
    ("POST", "/v1/decisions"): Access.USER,
    ("POST", "/api/tokenize"): Access.USER,
    ("POST", "/api/detokenize"): Access.USER,
    ("POST", "/v1/tokenize"): Access.USER,
    ("POST", "/v1/detokenize"): Access.USER,
    # Changing models.
    ("POST", "/api/create"): Access.ADMIN,
    ("POST", "/api/copy"): Access.ADMIN,
    ("DELETE", "/api/delete"): Access.ADMIN,
    ("POST", "/api/pull"): Access.ADMIN,
    ("POST", "/api/push"): Access.ADMIN,
    ("HEAD", "/api/blobs/{digest}"): Access.ADMIN,
    ("POST", "/api/blobs/{digest}"): Access.ADMIN,
    # About accounts of ollama.com, which this server does not have: each answers an error.
    ("POST", "/api/me"): Access.USER,
    ("POST", "/api/signout"): Access.USER,
    ("DELETE", "/api/user/keys/{key}"): Access.USER,
    ("POST", "/api/experimental/web_search"): Access.USER,
    ("POST", "/api/experimental/web_fetch"): Access.USER,
}
OPEN_ROUTES = frozenset(route for route, access in ROUTES.items() if access is Access.OPEN)


def check_complete(routes: Iterable[BaseRoute]) -> None:
    """Raises ValueError for a route without an access."""
    for route in routes:
        for each in getattr(route, "routes", [route]):
            missing = [(m, each.path) for m in each.methods or () if (m, each.path) not in ROUTES]
            if missing:
                raise ValueError(f"frontend/access/route_roles.py lacks {missing}")


def access_of(routes: Iterable[BaseRoute], scope: Scope) -> Access:
    """The access of the route that a request matches; for one that matches none any key is enough."""
    for route in routes:
        match, child = route.matches(scope)
        if match is Match.FULL:
            found = child.get("route", route)
            assert isinstance(found, APIRoute)
            return ROUTES[scope["method"], found.path]
    return Access.ANY
