"""Refuses requests that another page makes in the name of who looks at the console.

A page on another port of the same host is of the same site, so `SameSite=Strict` alone does not stop it.
"""

from __future__ import annotations

from starlette.requests import Request

from drover.errors import InvalidRequest

HEADER = "x-console-page"
"""Only a page of the same origin can send it: no preflight allows it to others (middleware/cors.py)."""


def check_own_page(http: Request) -> None:
    """Raises InvalidRequest unless the console's own page makes the request."""
    fetched = http.headers.get("sec-fetch-site", "same-origin")
    if fetched != "same-origin" or not _is_own_origin(http) or not http.headers.get(HEADER):
        raise InvalidRequest(
            "this address is for the console's own page; programs use /api/chat, with a key where keys are on"
        )


def is_behind_tls(http: Request) -> bool:
    """Whether the browser came by HTTPS, which a proxy may have ended."""
    return http.url.scheme == "https" or http.headers.get("origin", "").startswith("https://")


def _is_own_origin(http: Request) -> bool:
    """A browser sends Origin with every POST; behind a proxy that ends TLS the scheme differs."""
    origin, host = http.headers.get("origin", ""), http.headers.get("host", "")
    return not origin or origin in (f"http://{host}", f"https://{host}")
