"""The route table gives the same responses as a list of patterns."""

from __future__ import annotations

import httpx
import pytest
from fastapi import FastAPI
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import BaseRoute

from frontend.http.routes import direct_router, routes_of


async def _plain() -> Response:
    return PlainTextResponse("plain")


async def _echo(http: Request) -> Response:
    return PlainTextResponse(await http.body())


async def _part(http: Request) -> Response:
    return PlainTextResponse(str(http.path_params["part"]))


def _routes() -> list[BaseRoute]:
    one, other = direct_router(), direct_router()
    one.add_api_route("/a/{part}", _part, methods=["GET"])
    one.add_api_route("/a", _plain, methods=["GET", "HEAD"])
    other.add_api_route("/a", _echo, methods=["POST"])
    other.add_api_route("/b", _plain, methods=["GET"])
    return list(routes_of([one, other]))


@pytest.mark.parametrize(
    ("method", "path", "status", "text"),
    [
        ("GET", "/a", 200, "plain"),
        ("HEAD", "/a", 200, ""),
        ("POST", "/a", 200, "sent"),
        ("GET", "/a/b", 200, "b"),
        ("GET", "/b", 200, "plain"),
        ("PUT", "/a", 405, None),
        ("POST", "/b", 405, None),
        ("POST", "/a/b", 405, None),
        ("GET", "/c", 404, None),
        ("GET", "/b/", 404, None),
    ],
)
async def test_a_request_reaches_the_route_of_its_path_and_method(
    method: str, path: str, status: int, text: str | None
) -> None:
    app = FastAPI(routes=_routes(), openapi_url=None, redirect_slashes=False)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://x") as client:
        answer = await client.request(method, path, content=b"sent")
    assert answer.status_code == status
    assert text is None or answer.text == text


def test_only_paths_with_parameters_are_tried_one_by_one() -> None:
    """The table counts as one."""
    assert len(_routes()) == 2
