"""GET /api/usage: what keys used, as JSON or CSV."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from urllib.parse import urlencode

from fastapi import APIRouter, Request
from starlette.responses import Response

from drover.errors import InvalidRequest, NotPermitted
from frontend.access.key import Key, Role
from frontend.api.core.go_json import dumps
from frontend.api.wire import JSON
from frontend.http.routes import direct_router
from frontend.observability.request_record import record_of
from frontend.usage.ledger import UsageLedger
from frontend.usage.query import UsageQuery, cursor_of
from frontend.usage.rows import UsageRows
from frontend.usage.table import csv_text, members
from frontend.usage.tally import shown

_PATH = "/api/usage"
_CSV = "text/csv"


@dataclass(frozen=True, slots=True)
class UsageRoute:
    """`ledger`: None where usage is not kept."""

    ledger: UsageLedger | None
    rows: UsageRows

    async def answer(self, http: Request) -> Response:
        """Write this frontend's counts first. Those of other frontends are up to two seconds old."""
        if self.ledger is None:
            raise InvalidRequest("usage is not kept by this server: its --usage-days is 0")
        parameters = http.query_params
        as_csv = _wants_csv(parameters.get("format", ""), http.headers.get("accept", ""))
        own = record_of(http.scope).key
        query = UsageQuery.read(parameters, _only(own), self.ledger.today())
        _check_own(own, query)
        await self.ledger.write()
        rows = await self.rows.read(query)
        next_page = cursor_of(rows[-1].key) if len(rows) == query.limit else ""
        headers = {"cache-control": "no-store"}
        if next_page:
            link = urlencode({**parameters, "after": next_page})
            headers["link"] = f'<{_PATH}?{link}>; rel="next"'
        if as_csv:
            name = f"usage-{query.first}-{query.last}.csv"
            headers["content-disposition"] = f'attachment; filename="{name}"'
            text = await asyncio.to_thread(csv_text, rows)
            return Response(text, media_type=_CSV, headers=headers)
        body = {
            "from": query.first,
            "to": query.last,
            "usage": [members(row) for row in rows],
            "total": shown(await self.rows.total(query)),
            **({"next": next_page} if next_page else {}),
        }
        return Response(dumps(body), media_type=JSON, headers=headers)


def router(usage: UsageRoute) -> APIRouter:
    routes = direct_router()
    routes.add_api_route(_PATH, usage.answer, methods=["GET"])
    return routes


def _only(key: Key | None) -> str | None:
    """The key whose usage this one may read; None for all."""
    return None if key is None or key.role is Role.ADMIN else key.id


def _check_own(key: Key | None, query: UsageQuery) -> None:
    """Raises NotPermitted for the usage of a key that this one may not read."""
    if key is not None and query.own_key is not None and query.key not in ("", key.id, key.name):
        raise NotPermitted("key: only a key with the role admin reads the usage of other keys")


def _wants_csv(text: str, accept: str) -> bool:
    """Raises InvalidRequest for another format than json and csv."""
    if text not in ("", "json", "csv"):
        raise InvalidRequest(f"format must be json or csv, and is {text[:40]!r}")
    return text == "csv" or (not text and accept.partition(",")[0].partition(";")[0].strip() == _CSV)
