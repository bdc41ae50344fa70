"""Checks whether a response conforms to the OpenAPI document, beyond those of schemathesis."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

import jsonschema_rs
from prometheus_client import CONTENT_TYPE_LATEST
from schemathesis import Case, Response

from drover.json_value import Json

Struct = dict[str, Any]
AnyCase = Case[Any]
_NDJSON = "application/x-ndjson"
_SSE = "text/event-stream"
_CSV = "text/csv; charset=utf-8"
_JSON = ("application/json", "application/json; charset=utf-8")
_TEXT = ("text/plain", "text/plain; charset=utf-8")
_LAST_EVENTS = ("message_stop", "response.completed", "response.incomplete", "response.failed", "error")
# The longest line that Go's client reads.
_MAX_LINE_BYTES = 8_000_000


def closed(document: Json) -> Struct:
    """A copy of the document in which objects have the members that are listed and no others, unless they say
    that they may. The document itself leaves them open: clients must not break when a member is added.
    """
    copy = _closed(document)
    assert isinstance(copy, dict)
    return copy


def _closed(part: Json) -> Json:
    if isinstance(part, list):
        return [_closed(item) for item in part]
    if not isinstance(part, dict):
        return part
    copy = {key: _closed(value) for key, value in part.items()}
    if copy.get("type") == "object" and "properties" in copy:
        copy.setdefault("additionalProperties", False)
    return copy


def faults(document: Struct, case: AnyCase, response: Response) -> Iterator[str]:
    """The faults that schemathesis does not check for."""
    content_type = response.headers.get("content-type", [""])[0]
    if content_type not in (*_JSON, *_TEXT, _NDJSON, _SSE, _CSV, CONTENT_TYPE_LATEST, "") or (
        not content_type and response.content
    ):
        yield f"the content type is {content_type!r}"
    if response.status_code >= 500 and b"internal error" in response.content:
        yield "a fault of ours is declared for every route, and must not happen"
    if content_type == _NDJSON:
        yield from _faults_of_lines(_schema_of_a_line(document, case, response), response.content)
    # After the last event of a stream that is read again there is nothing.
    is_after_all = not response.content and "starting_after" in (case.query or {})
    if content_type == _SSE and not is_after_all:
        yield from _faults_of_events(_schema_of_a_line(document, case, response, _SSE), response.content)


def documented(document: Struct, method: str, path: str) -> Struct | None:
    """The documented operation, if any."""
    for template, operations in document["paths"].items():
        pattern = re.sub(r"\\{.*?\\}", "[^/]+", re.escape(template))
        if re.fullmatch(pattern, path) and method.lower() in operations:
            operation = operations[method.lower()]
            assert isinstance(operation, dict)
            return operation
    return None


def faults_of_answer(
    document: Struct, operation: Struct, status: int, headers: Mapping[str, str], text: str
) -> Iterator[str]:
    """The faults of a response to a request that schemathesis did not make."""
    expected = operation["responses"].get(str(status))
    if expected is None:
        yield f"status {status} is not documented"
        return
    for name, header in expected["headers"].items():
        if header.get("required") and name.lower() not in headers:
            yield f"{name} is not there"
    media = headers.get("content-type", "").partition(";")[0]
    content = expected.get("content", {})
    if not text:
        return
    if media not in content:
        yield f"content type {media!r} is not documented"
        return
    schema = {**content[media]["schema"], "components": document["components"]}
    if media == _NDJSON:
        yield from _faults_of_lines(schema, text.encode())
    elif media == _SSE:
        yield from _faults_of_events(schema, text.encode())
    else:
        value = json.loads(text) if media == _JSON[0] else text
        for error in jsonschema_rs.validator_for(schema).iter_errors(value):
            yield f"not as documented: {error.message}"


def _schema_of_a_line(
    document: Struct, case: AnyCase, response: Response, content_type: str = _NDJSON
) -> Struct:
    operation = document["paths"][case.operation.path][case.operation.method.lower()]
    schema = operation["responses"][str(response.status_code)]["content"][content_type]["schema"]
    return {**schema, "components": document["components"]}


def _faults_of_lines(schema: Struct, content: bytes) -> Iterator[str]:
    if not content.endswith(b"\n"):
        yield "the last line has no end"
    lines = content.removesuffix(b"\n").split(b"\n")
    validator = jsonschema_rs.validator_for(schema)
    for number, line in enumerate(lines):
        if len(line) > _MAX_LINE_BYTES:
            yield f"line {number} is too long"
        value = json.loads(line)
        for error in validator.iter_errors(value):
            yield f"line {number} is not as documented: {error.message}"
        if _ends(value) and number != len(lines) - 1:
            yield f"line {number} ends the answer, and others follow"
    if not _ends(json.loads(lines[-1])):
        yield "the last line is no end"


def _faults_of_events(schema: Struct, content: bytes) -> Iterator[str]:
    """Each event's last line is its data; named ones have a line before it."""
    if not content.endswith(b"\n\n"):
        yield "the last event has no end"
    of_data = schema["properties"]["data"]
    of_data = of_data.get("anyOf", [of_data])[0]["contentSchema"]
    validator = jsonschema_rs.validator_for({**of_data, "components": schema["components"]})
    data = [
        event.rpartition(b"\n")[2].removeprefix(b"data: ")
        for event in content.removesuffix(b"\n\n").split(b"\n\n")
    ]
    is_whole = data[-1] == b"[DONE]"
    for number, each in enumerate(data[:-1] if is_whole else data):
        value = json.loads(each)
        for error in validator.iter_errors(value):
            yield f"event {number} is not as documented: {error.message}"
    if not (is_whole or "error" in json.loads(data[-1]) or json.loads(data[-1]).get("type") in _LAST_EVENTS):
        yield "the last event is no end"


def _ends(line: Mapping[str, object]) -> bool:
    return line.get("done") is True or "error" in line or line.get("status") == "success"
