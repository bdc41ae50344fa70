"""Bodies of the Responses API, with the stored items that they refer to.

`previous_response_id` puts the items of earlier turns before the input; an `item_reference` stands for an
item of a stored response.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar, cast

import orjson
from fastapi import Request

from drover.concurrency import run_in_thread_if_large
from drover.errors import InvalidRequest
from drover.json_value import Json
from frontend.api.core.body import INLINE_BYTES, read_v1_json
from frontend.api.core.typed_fields import Reader, boolean, read_struct, text
from frontend.api.openai.responses.input_items import item_id, sent_items, with_items
from frontend.api.openai.responses.output import is_response_id
from frontend.middleware.held_bodies import held_body_of
from frontend.models.stored_responses import MAX_TURNS, StoredResponse, StoredResponses
from frontend.observability.request_record import record_of
from frontend.settings import FrontendSettings

Wanted = TypeVar("Wanted")
NOT_STORED = "nothing is stored here (--store-responses is off)"
_STORED_FIELDS: dict[str, Reader] = {"previous_response_id": text, "background": boolean}
_REFERENCE = "item_reference"
# Each is a query.
_MAX_REFERENCED_RESPONSES = 100
# Ids of a response's items have the token of its own id.
_ITEM_ID = re.compile(r"[a-z]+_([0-9a-f]{24})(?:_|$)")


@dataclass(frozen=True, slots=True)
class _Unresolved:
    """A body that refers to stored items. `responses`: ids of those that its references are in."""

    body: Json
    previous_id: str
    responses: Sequence[str]


@dataclass(frozen=True, slots=True)
class Incoming(Generic[Wanted]):
    """What was made of a body. `own_items`: its input without the items of earlier turns, to be stored."""

    wanted: Wanted
    own_items: Sequence[Json]


class IncomingBodies:
    """Reads bodies. `stored` is None where nothing is stored: then what refers to stored items is refused."""

    def __init__(self, settings: FrontendSettings, stored: StoredResponses | None) -> None:
        self._settings = settings
        self._stored = stored

    async def read(self, http: Request, read: Callable[[Json], Wanted]) -> Incoming[Wanted]:
        """Raises what `read` and reading a body raise, and InvalidRequest for references to what is not
        stored.
        """

        def first(body: Json) -> Incoming[Wanted] | _Unresolved:
            if self._stored is None:
                return Incoming(read(_storing_nothing(body)), ())
            return _unresolved(body) or Incoming(read(body), sent_items(body))

        found = await read_v1_json(http, self._settings, first)
        if self._stored is None or isinstance(found, Incoming):
            return cast("Incoming[Wanted]", found)
        held = held_body_of(http.scope)
        resolver = _Resolver(self._stored, record_of(http.scope).client, held.grow)
        earlier, own = await resolver.items(found)
        body = with_items(found.body, [*earlier, *own])
        wanted = await run_in_thread_if_large(lambda: read(body), held.length, INLINE_BYTES)
        return Incoming(wanted, own)


@dataclass(frozen=True, slots=True)
class _Resolver:
    """Finds what the owner has stored. `take`: counts the bytes that it has read."""

    stored: StoredResponses
    owner: str
    take: Callable[[int], None]

    async def items(self, found: _Unresolved) -> tuple[list[Json], list[Json]]:
        """The items of the earlier turns, and the body's own, without references."""
        earlier = await self._earlier(found.previous_id) if found.previous_id else []
        referenced: dict[str, Json] = {}
        for response_id in found.responses:
            referenced |= await self._items_of(response_id)
        return earlier, [_referenced(item, referenced) for item in sent_items(found.body)]

    async def _earlier(self, previous_id: str) -> list[Json]:
        known = is_response_id(previous_id)
        turns = await self.stored.turns(previous_id, self.owner, self.take) if known else ()
        if not turns:
            raise InvalidRequest(f"Previous response with id '{previous_id}' not found.")
        if turns[-1].is_running and not turns[-1].is_lost(time.time_ns()):
            raise InvalidRequest(f"Previous response with id '{previous_id}' is still {turns[-1].status}.")
        if gone := turns[0].previous_id:
            reason = f"it has more than {MAX_TURNS} turns" if len(turns) == MAX_TURNS else f"'{gone}' is gone"
            raise InvalidRequest(
                f"Previous response with id '{previous_id}' cannot be continued: its conversation is not "
                f"complete, since {reason}"
            )
        return await items_of(turns)

    async def _items_of(self, response_id: str) -> Mapping[str, Json]:
        response = await self.stored.get(response_id, self.owner)
        if response is None:
            return {}
        self.take(len(response.document) + len(response.input))
        return {item_id(item): item for item in all_items(response)}


async def items_of(turns: Sequence[StoredResponse]) -> list[Json]:
    """The items of all turns."""
    length = sum(len(turn.document) + len(turn.input) for turn in turns)
    return await run_in_thread_if_large(
        lambda: [item for turn in turns for item in all_items(turn)], length, INLINE_BYTES
    )


def all_items(response: StoredResponse) -> list[Json]:
    """The items of a turn: its input, then its output."""
    document: dict[str, Json] = orjson.loads(response.document)
    sent: list[Json] = orjson.loads(response.input)
    output = document.get("output")
    return [*sent, *(output if isinstance(output, list) else [])]


def _storing_nothing(body: Json) -> Json:
    """The body, unless it needs stored responses."""
    fields = read_struct(body, "ResponsesRequest", _STORED_FIELDS, "openai.ResponsesRequest")
    if previous_id := fields.get("previous_response_id"):
        raise InvalidRequest(
            f"Previous response with id '{previous_id}' not found: {NOT_STORED}, so send the conversation in "
            "`input`"
        )
    if fields.get("background"):
        raise InvalidRequest(f"background: {NOT_STORED}, so send the request without it")
    return body


def _unresolved(body: Json) -> _Unresolved | None:
    """None for a body without references."""
    fields = read_struct(body, "ResponsesRequest", _STORED_FIELDS, "openai.ResponsesRequest")
    previous_id = cast(str, fields.get("previous_response_id", ""))
    references = [item for item in sent_items(body) if _is_reference(item)]
    found = (_ITEM_ID.match(item_id(item)) for item in references)
    responses = list(dict.fromkeys(f"resp_{match[1]}" for match in found if match))
    if len(responses) > _MAX_REFERENCED_RESPONSES:
        raise InvalidRequest(
            f"input: item_references are possible to at most {_MAX_REFERENCED_RESPONSES} responses"
        )
    return _Unresolved(body, previous_id, responses) if previous_id or references else None


def _is_reference(item: Json) -> bool:
    """Clients may leave out the type of a reference."""
    return isinstance(item, dict) and (
        item.get("type") == _REFERENCE or (not item.get("type") and item.keys() == {"id"})
    )


def _referenced(item: Json, known: Mapping[str, Json]) -> Json:
    if not _is_reference(item):
        return item
    if (found := known.get(item_id(item))) is None:
        raise InvalidRequest(f"input: Item with id '{item_id(item)}' not found.")
    return found
