"""The document is OpenAPI, and says of routes and errors what the application does."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import jsonschema_rs
import pytest
import schemathesis
from fastapi import FastAPI
from fastapi.routing import APIRoute

from drover.errors import ANSWERS, ClientLeft
from frontend.api.in_flight import InFlightRequests
from frontend.app import build_app
from frontend.http.routes import PathTable
from frontend.openapi.refusals import REASONS
from frontend.settings import FrontendSettings
from tests.fakes.fleets import fleet_of
from tests.fuzz.targets import ROUTES
from tests.unit.frontend.openapi.told import BASES, DOCUMENT, OPERATIONS, SCHEMAS


@pytest.fixture
def routes(tmp_path: Path) -> set[tuple[str, str]]:
    settings = FrontendSettings(database_url=f"sqlite:///{tmp_path / 'presets.sqlite3'}")
    fleet = fleet_of()
    return {
        (route.path.replace(":path}", "}"), method.lower())
        for found in _within(build_app(settings, fleet, InFlightRequests(settings))).routes
        for route in (found.routes if isinstance(found, PathTable) else [found])
        if isinstance(route, APIRoute)
        for method in route.methods or ()
    }


def _within(app: object) -> FastAPI:
    """Middlewares keep what they are around in `_app`."""
    while not isinstance(app, FastAPI):
        app = app._app  # type: ignore[attr-defined]
    return app


def test_it_is_openapi() -> None:
    schemathesis.openapi.from_dict(DOCUMENT).validate()
    for schema in SCHEMAS.values():
        jsonschema_rs.meta.validate(schema)


def test_every_route_is_in_it_and_no_other(routes: set[tuple[str, str]]) -> None:
    assert {(path, method) for path, method, _ in OPERATIONS} == routes


def test_operations_have_names_of_their_own() -> None:
    names = [operation["operationId"] for _, _, operation in OPERATIONS]
    assert len(set(names)) == len(names)


def test_what_it_refers_to_is_there_and_what_is_there_is_referred_to() -> None:
    assert set(_references(DOCUMENT)) == {f"#/components/schemas/{name}" for name in SCHEMAS} | {
        "#/components/parameters/RequestId"
    }


def _references(part: object) -> Iterator[str]:
    if isinstance(part, dict):
        for key, value in part.items():
            if key == "$ref":
                yield value
            else:
                yield from _references(value)
    elif isinstance(part, list):
        for item in part:
            yield from _references(item)


def test_every_error_that_a_client_can_see_has_a_reason() -> None:
    assert set(REASONS) == set(ANSWERS) - {ClientLeft}


def test_every_body_that_is_read_has_a_way_in_the_tests() -> None:
    reading = {
        path
        for path, _, operation in OPERATIONS
        if "application/json" in operation.get("requestBody", {}).get("content", {})
    }
    assert reading == set(ROUTES) == set(BASES)
