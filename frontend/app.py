"""The ASGI application: its routes, error handlers and middlewares."""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, Callable, Sized
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from fastapi import FastAPI, Request
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.types import ASGIApp, Scope

from drover.errors import DroverError, internal_error
from drover.exposure import is_loopback, warn_if_exposed
from frontend import operator_routes, usage_routes
from frontend.access.console_session import Sessions
from frontend.access.database_keys import DatabaseKeys
from frontend.access.fast_digest import FastDigest
from frontend.access.file_keys import FileKeys
from frontend.access.key_checker import KeyChecker
from frontend.access.key_rows import KeyRows
from frontend.access.keys import Keys
from frontend.access.limits.rate_limits import RateLimits
from frontend.access.limits.shared_counts import SharedCounts
from frontend.access.route_roles import check_complete
from frontend.api.anthropic import messages
from frontend.api.decisions import Decisions
from frontend.api.embeddings import Embeddings
from frontend.api.generation import Generation
from frontend.api.in_flight import InFlightRequests
from frontend.api.ollama import (
    blobs,
    embed,
    inference,
    manage,
    models,
    server,
    systemone,
    tokens,
    transfer,
)
from frontend.api.openai import routes as openai
from frontend.api.openai.responses.background import BackgroundResponses, Finished
from frontend.api.openai.responses.storing import ResponseStore
from frontend.api.scoring import classify, rerank, score
from frontend.api.scoring.service import Scoring
from frontend.api.tokens import Tokens
from frontend.console import routes as console_routes
from frontend.console.console import Console
from frontend.database.database import Database
from frontend.error_responses import failure
from frontend.http.routes import routes_of
from frontend.http.unrouted import CleanPath, allowed_methods, answer_unrouted
from frontend.middleware.authentication import Authentication
from frontend.middleware.client_id import Clients
from frontend.middleware.cors import OriginRule
from frontend.middleware.held_bodies import HeldBodies, WithHeldBodies
from frontend.middleware.hosts import with_host_rule
from frontend.middleware.rate_limits import LimitedRequests
from frontend.middleware.request_log import RequestLog
from frontend.models.adapters import Adapters
from frontend.models.blobs import Blobs
from frontend.models.catalog import Catalog
from frontend.models.preset_rows import PresetRows
from frontend.models.presets import Presets
from frontend.models.running_responses import RunningResponses
from frontend.models.stored_responses import StoredResponses, StoreLimits
from frontend.observability.loop_delay import watched_loop
from frontend.observability.metrics import Metrics
from frontend.observability.request_record import RequestRecord, record_of
from frontend.openapi import routes as openapi
from frontend.routing.backends.ollama.loop_guard import LoopGuard
from frontend.routing.fleet import Fleet
from frontend.routing.hosts.removal_rows import RemovalRows
from frontend.routing.hosts.removals import LEASE_SECONDS, Removals
from frontend.routing.hosts.stores import HostStores
from frontend.settings import FrontendSettings
from frontend.smart_router.route_decision import DecisionCache
from frontend.smart_router.router import RequestRouter
from frontend.usage.ledger import UsageLedger
from frontend.usage.rows import UsageRows
from frontend.usage_routes import UsageRoute

if TYPE_CHECKING:
    from drover.tracing.tracing import Tracing
    from frontend.observability.request_trace import RequestTraces

_log = logging.getLogger("drover.frontend")
_OPEN = "can use every model, since there are no keys (drover-frontend keys create makes one)"
# Until then new connections wait; without it the first requests would fail for want of workers.
_LOOK_AROUND_SECONDS = 1.0
# Renewed every second, unless the database is unavailable: longer than it may be restarted.
_LEASE_SECONDS = 30.0
# The same for the requests in flight of a frontend that was killed: they count until then.
_LIMITS_LEASE_SECONDS = 10.0


def build_app(
    settings: FrontendSettings,
    fleet: Fleet,
    in_flight: InFlightRequests,
    connections: Sized = (),
    tracing: Tracing | None = None,
    certificate_expires: Callable[[], float | None] = lambda: None,
) -> ASGIApp:
    """`connections`: the open ones. `tracing`: None where it is off. `certificate_expires`: that of HTTPS, in
    unix seconds.
    """
    database = Database(settings.database, settings.database_timeout_seconds)
    rows = PresetRows(database, settings.max_presets, settings.max_preset_store_bytes)
    presets = Presets(rows, settings.preset_poll_seconds)
    catalog = Catalog(fleet, presets, settings.virtual_models)
    generation = Generation(catalog, settings, in_flight, RequestRouter(fleet, DecisionCache()))
    decisions = Decisions(generation)
    embeddings = Embeddings(catalog, settings, in_flight)
    scoring = Scoring(catalog, settings, in_flight)
    limits = RateLimits(SharedCounts(database, _LIMITS_LEASE_SECONDS))
    clients = Clients(settings.trusted_proxies)
    bodies = HeldBodies(settings.held_body_limit_bytes, clients.is_proxy)
    metrics = Metrics(
        fleet,
        connections.__len__,
        lambda: bodies.held,
        lambda: database.is_available,
        certificate_expires,
        settings.max_key_metrics,
    )
    usage_rows = UsageRows(database)
    usage = UsageLedger(usage_rows, settings.usage_days) if settings.usage_days else None
    digest = FastDigest()
    keys = Keys(
        DatabaseKeys(KeyRows(database)),
        FileKeys(Path(settings.keys_file), digest) if settings.keys_file else None,
        always_required=settings.require_keys or bool(settings.keys_file),
        # Behind a proxy loopback is no limit to who comes.
        open_until_read=is_loopback(settings.listen) and not settings.trusted_proxies,
    )
    checker, sessions = KeyChecker(keys, digest), Sessions(keys)
    console = Console(fleet, in_flight, keys, sessions, connections.__len__) if settings.console else None
    finished = _finished(metrics, usage, console)
    store = _response_store(settings, database, finished)
    stored = Blobs(database, settings.blob_lifetime_seconds, settings.max_blob_store_bytes)
    adapters = Adapters(stored, presets, fleet)
    fleet.adapters.source = adapters
    removals = Removals(RemovalRows(database, LEASE_SECONDS), fleet.hosts, settings.preset_poll_seconds)
    stores = HostStores(fleet.hosts, removals)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncGenerator[None, None]:
        async with AsyncExitStack() as started:
            await started.enter_async_context(watched_loop(metrics.observe_loop_delay))
            await fleet.start()
            started.push_async_callback(fleet.stop)
            await presets.start()
            started.push_async_callback(presets.stop)
            await removals.start(_LOOK_AROUND_SECONDS)
            started.push_async_callback(removals.stop)
            await keys.start()
            started.push_async_callback(keys.stop)
            if not keys.are_used:
                warn_if_exposed(_log, settings.listen, settings.names_of("listen"), _OPEN)
            await limits.start()
            started.push_async_callback(limits.stop)
            if usage is not None:
                # Stopped after the responses in the background, which it counts.
                await usage.start()
                started.push_async_callback(usage.stop)
            if store is not None:
                await store.background.start()
                started.push_async_callback(store.background.stop)
            if console is not None:
                await console.start()
                started.push_async_callback(console.stop)
            await fleet.wait_for_workers(_LOOK_AROUND_SECONDS)
            yield

    usage_route = UsageRoute(usage, usage_rows)
    # Handlers read raw bodies, which FastAPI cannot document; frontend/openapi does.
    routes = routes_of(
        [
            server.router(settings),
            models.router(catalog, stores, settings),
            manage.router(catalog, adapters, stored, stores, settings),
            transfer.router(catalog, stores, settings),
            blobs.router(stored, stores, settings),
            inference.router(generation),
            embed.router(embeddings),
            systemone.router(decisions),
            tokens.router(Tokens(generation)),
            *openai.routers(generation, embeddings, decisions, store),
            messages.router(generation),
            rerank.router(scoring),
            score.router(scoring),
            classify.router(scoring),
            operator_routes.router(fleet, in_flight, metrics),
            usage_routes.router(usage_route),
            *(
                [console_routes.router(console, catalog, generation, checker, usage_route.answer)]
                if console
                else ()
            ),
            openapi.router(settings),
        ]
    )
    app = FastAPI(
        routes=list(routes),
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
        redirect_slashes=False,
        # The frontend has its own metrics; FastAPI would look for its configuration at each request.
        telemetry={"tracing": False, "metrics": False, "logs": False, "auto_configure": False},
    )
    app.add_exception_handler(DroverError, _failed)
    app.add_exception_handler(HTTPException, answer_unrouted)
    app.add_exception_handler(Exception, _unhandled)
    check_complete(app.routes)
    limited = LimitedRequests(app, limits, _refused)
    bounds = settings.keep_alive_bounds
    with_keys = Authentication(limited, keys, checker, sessions, app.routes, _refused, bounds)
    hosts = with_host_rule(LoopGuard(with_keys), settings.listen)
    ruled = OriginRule(hosts, settings.origins, lambda scope: allowed_methods(app.routes, scope))
    return RequestLog(
        WithHeldBodies(CleanPath(ruled), bodies),
        clients,
        finished,
        None if tracing is None else _traces(tracing),
    )


def _traces(tracing: Tracing) -> RequestTraces:
    # Imported here: it imports OpenTelemetry, which a process without traces does not load.
    from frontend.observability.request_trace import RequestTraces

    return RequestTraces(tracing)


def _finished(metrics: Metrics, usage: UsageLedger | None, console: Console | None) -> Finished:
    def finished(record: RequestRecord, route: str) -> None:
        metrics.count(record, route)
        if usage is not None:
            usage.count(record)
        if console is not None:
            console.recorder.count(record, route)
        if record.trace is not None:
            record.trace.finish(record, route)

    return finished


def _response_store(
    settings: FrontendSettings, database: Database, finished: Finished
) -> ResponseStore | None:
    """None where no responses are stored."""
    if not settings.store_responses:
        return None
    stored = StoredResponses(
        database,
        StoreLimits(
            settings.max_stored_responses,
            settings.max_response_store_bytes,
            settings.response_lifetime_seconds,
        ),
    )
    running = RunningResponses(database, _LEASE_SECONDS)
    background = BackgroundResponses(
        stored,
        running,
        settings.max_background_responses,
        settings.shutdown_grace_seconds,
        finished,
    )
    return ResponseStore(stored, running, background, settings.max_stored_response_bytes)


def _refused(scope: Scope, error: DroverError) -> Response:
    return failure(scope["path"], error, scope["method"] == "GET")


async def _failed(request: Request, error: Exception) -> Response:
    assert isinstance(error, DroverError)
    record = record_of(request.scope)
    record.record_error(error)
    # A GET has no body to convert.
    return failure(request.url.path, error, record.is_understood or request.method == "GET")


async def _unhandled(request: Request, error: Exception) -> Response:
    return await _failed(request, internal_error(error))
