"""The document is valid OpenAPI and lists the application's routes and errors."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import jsonschema_rs
import pytest
import schemathesis
from fastapi import FastAPI
from fastapi.routing import APIRoute

from drover.errors import ERROR_MAPPINGS, ClientLeft
from frontend.api.in_flight import InFlightRequests
from frontend.app import build_app
from frontend.http.routes import PathTable
from frontend.openapi.operations import REASONS
from frontend.settings import FrontendSettings
from tests.fakes.fleets import fleet_of
from tests.fuzz.targets import ROUTES
from tests.unit.frontend.openapi.documented import BASES, DOCUMENT, OPERATIONS, SCHEMAS


@pytest.fixture
def routes(tmp_path: Path) -> set[tuple[str, str]]:
    settings = FrontendSettings(database_url=f"sqlite:///{tmp_path / 'presets.sqlite3'}")
    fleet = fleet_of()
    return {
        (route.path.replace(":path}", "}"), method.lower())
        for found in _innermost(build_app(settings, fleet, InFlightRequests(settings))).routes
        for route in (found.routes if isinstance(found, PathTable) else [found])
        if isinstance(route, APIRoute)
        for method in route.methods or ()
    }


def _innermost(app: object) -> FastAPI:
    """The FastAPI application inside its middlewares, which keep the next application in `_app`."""
    while not isinstance(app, FastAPI):
        app = app._app  # type: ignore[attr-defined]  # each middleware has it
    return app


def test_the_document_is_valid_openapi() -> None:
    schemathesis.openapi.from_dict(DOCUMENT).validate()
    for schema in SCHEMAS.values():
        jsonschema_rs.meta.validate(schema)


def test_the_document_lists_exactly_the_applications_routes(routes: set[tuple[str, str]]) -> None:
    """But the console's: what its page and its server say to each other is no interface for programs."""
    of_programs = {(path, method) for path, method in routes if not path.startswith("/console")}
    assert {(path, method) for path, method, _ in OPERATIONS} == of_programs


def test_the_page_of_the_api_says_whose_each_route_is() -> None:
    page = (Path(__file__).parents[4] / "docs" / "api.md").read_text(encoding="utf-8")
    rows = [line.split(" | ") for line in page.splitlines() if line.startswith("| `") and "` | " in line]
    whose = {path: row[1] for row in rows for path in re.findall(r"(/[^`]*)`", row[0])}
    missing = {path for path, _, _ in OPERATIONS if not re.search(r"'s\b|our own", whose.get(path, ""))}
    assert not missing


def test_operation_ids_are_unique() -> None:
    names = [operation["operationId"] for _, _, operation in OPERATIONS]
    assert len(set(names)) == len(names)


def test_every_reference_exists_and_every_schema_is_referenced() -> None:
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


def test_every_error_that_a_client_can_receive_has_a_reason() -> None:
    assert set(REASONS) == set(ERROR_MAPPINGS) - {ClientLeft}


def test_the_tests_have_a_valid_body_of_every_route_that_reads_json() -> None:
    reading = {
        path
        for path, _, operation in OPERATIONS
        if "application/json" in operation.get("requestBody", {}).get("content", {})
    }
    assert reading == set(ROUTES) == set(BASES)
