"""What an operation takes and answers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from http import HTTPStatus

from drover.json_value import Json
from frontend.openapi.schemas import Schema, any_of, integer, struct, text

JSON = "application/json"
NDJSON = "application/x-ndjson"
SSE = "text/event-stream"
TEXT = "text/plain"

_REQUEST_ID: Schema = {
    "description": "The request's id, which is in the logs of both tiers: the client's, or a new one.",
    "required": True,
    "schema": text(pattern="^[!-~]{1,128}$"),
}
SENT_REQUEST_ID: Schema = {
    "name": "X-Request-ID",
    "in": "header",
    "description": "The client's own id, of 1 to 128 visible ASCII characters; anything else is replaced.",
    "schema": text(),
}
TRUNCATED: Schema = {
    "description": "How many tokens were cut off the prompt, or off the texts. Not there when none were.",
    "schema": integer(minimum=1),
}
NOT_HONOURED: Schema = {
    "description": "Names of options that are done otherwise or not at all, with commas between them. Not "
    "there when there are none.",
    "schema": text(pattern=r"^[A-Za-z0-9_.-]{1,64}(, [A-Za-z0-9_.-]{1,64})*$"),
}
ROUTED_MODEL: Schema = {
    "description": "Which model has answered, where the named one chooses between two. Not there otherwise.",
    "schema": text(),
}
ROUTE_REASON: Schema = {
    "description": "Why that one: forced, ability, away, images, tools, length, or what the judge said. "
    "Not there without a choice.",
    "schema": text(),
}
ANSWER_HEADERS: dict[str, Schema] = {
    "X-Drover-Truncated-Tokens": TRUNCATED,
    "X-Drover-Not-Honoured": NOT_HONOURED,
    "X-Drover-Routed-Model": ROUTED_MODEL,
    "X-Drover-Route-Reason": ROUTE_REASON,
}
"""Of all that generates."""
EMBEDDING_HEADERS: dict[str, Schema] = {
    "X-Drover-Truncated-Tokens": TRUNCATED,
    "X-Drover-Not-Honoured": NOT_HONOURED,
}
_FOREIGN = "a web page that may not call, or, on a loopback address, a request that names another host"
Answers = Mapping[int, Schema]


def answer(
    description: str, content: Mapping[str, Schema] | None = None, headers: Mapping[str, Schema] | None = None
) -> Schema:
    """`content`: a schema for each content type; None for answers without a body."""
    named: dict[str, Json] = {"X-Request-ID": _REQUEST_ID, **(headers or {})}
    result: Schema = {"description": description, "headers": named}
    if content is not None:
        result["content"] = {media: {"schema": schema} for media, schema in content.items()}
    return result


def ok(
    description: str, content: Mapping[str, Schema] | None = None, headers: Mapping[str, Schema] | None = None
) -> Answers:
    return {HTTPStatus.OK: answer(description, content, headers)}


def operation(
    operation_id: str,
    tag: str,
    summary: str,
    *answers: Answers,
    body: Schema | None = None,
    parameters: Sequence[Schema] = (),
) -> Schema:
    result: Schema = {"operationId": operation_id, "tags": [tag], "summary": summary}
    result["parameters"] = [*parameters, {"$ref": "#/components/parameters/RequestId"}]
    if body is not None:
        result["requestBody"] = body
    responses: dict[int, Schema] = {status: schema for each in answers for status, schema in each.items()}
    responses[HTTPStatus.FORBIDDEN] = _forbidden(responses.get(HTTPStatus.FORBIDDEN))
    result["responses"] = {str(int(status)): responses[status] for status in sorted(responses)}
    return result


def _forbidden(own: Schema | None) -> Schema:
    """On every route (frontend/middleware), beside what `own` says."""
    if own is None:
        return answer(f"Forbidden, without a body:\n\n- {_FOREIGN}")
    return {**own, "description": f"{own['description']}\n- without a body: {_FOREIGN}"}


def event(data: Schema, last: str = "") -> Schema:
    """One server-sent event whose data is JSON; only `last` is none. Without a `last` it is a named event."""
    written: Schema = {"type": "string", "contentMediaType": JSON, "contentSchema": data}
    if not last:
        return struct({"event": text(), "data": written}, ["event", "data"], "Its name is its data's `type`.")
    about = f"The last one is `{last}`, unless an error ends the stream."
    return struct({"event": text(), "data": any_of(written, text(const=last))}, ["data"], about)


def json_body(schema: Schema) -> Schema:
    return {
        "required": True,
        "description": "JSON, whatever the Content-Type says. Names of fields match in any letter case, "
        "fields that are not listed mean nothing, and bytes after the first value are ignored.",
        "content": {JSON: {"schema": schema}},
    }


def with_head(get: Schema) -> Schema:
    """A path whose GET can be asked for its headers alone."""
    responses = get["responses"]
    assert isinstance(responses, dict)
    bodiless: Schema = {
        status: {name: part for name, part in one.items() if name != "content"}
        for status, one in responses.items()
        if isinstance(one, dict)
    }
    return {"get": get, "head": {**get, "operationId": f"{get['operationId']}Head", "responses": bodiless}}
