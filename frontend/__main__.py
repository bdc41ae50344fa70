"""`python -m frontend`: one frontend process."""

from __future__ import annotations

import errno
import logging
import os
import signal
import socket
import ssl
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from drover import logs
from drover.collector import keep_from_collection
from drover.memory import configure_malloc
from drover.ollama_environment import warn_of_variables_without_meaning
from drover.settings import split_address
from drover.tls.files import load_authority
from drover.tls.fleet import fleet_certificates
from drover.tls.reload import Reloaded
from drover.tracing.environment import start_tracing
from frontend.routing.backends.connect import connect
from frontend.routing.backends.grpc.tls import FleetTls
from frontend.routing.discovery import discoveries_of
from frontend.routing.fleet import Fleet
from frontend.routing.hosts.hosts import Hosts
from frontend.routing.long_prompts import LongPrompts
from frontend.routing.model_queue import QueueTable
from frontend.routing.policies import policy_of
from frontend.server import BACKLOG, FrontendServer
from frontend.settings import FrontendSettings

if TYPE_CHECKING:
    from drover.tracing.tracing import Tracing

_log = logging.getLogger("drover.frontend")


def main() -> int:
    if sys.argv[1:2] == ["keys"]:
        from frontend.keys_command import run

        return run(sys.argv[2:])
    if sys.argv[1:2] == ["usage"]:
        from frontend.usage_command import run

        return run(sys.argv[2:])
    settings = FrontendSettings.load(sys.argv[1:])
    configure_malloc()
    logs.configure(settings.log_format, settings.log_level)
    warn_of_variables_without_meaning(os.environ)
    # Uvicorn's start and stop messages repeat this module's.
    logging.getLogger("uvicorn.error").setLevel(logging.WARNING)
    # It logs a traceback for each message that cannot be parsed; the fleet logs which worker sent it.
    logging.getLogger("grpc._common").setLevel(logging.CRITICAL)
    # It logs a line for each poll of each Ollama host.
    logging.getLogger("httpx").setLevel(logging.WARNING)
    try:
        listener = listen(settings.listen)
    except OSError as error:
        logs.event(_log, logging.ERROR, f"cannot start: {_explain(settings.listen, error)}")
        return 1
    try:
        tracing = start_tracing("drover-frontend", os.environ)
        server = _server(settings, tracing)
    except ValueError as error:
        logs.event(_log, logging.ERROR, f"cannot start: {error}")
        return 1
    for number in (signal.SIGINT, signal.SIGTERM):
        # Effective before uvicorn installs its handlers, and when it re-raises the signal after its shutdown.
        signal.signal(number, lambda *_: setattr(server, "should_exit", True))
    host, port = listener.getsockname()[:2]
    scheme = "http" if settings.tls is None else "https"
    workers = settings.worker_addresses
    logs.event(_log, logging.INFO, "listening", address=f"{host}:{port}", scheme=scheme, workers=workers)
    keep_from_collection()
    server.run(sockets=[listener])
    if tracing is not None:
        tracing.stop()
    logs.event(_log, logging.INFO, "stopped")
    return 0


def _server(settings: FrontendSettings, tracing: Tracing | None) -> FrontendServer:
    """Raises ValueError for certificates that cannot be used."""
    certificates, tls = None, None
    if settings.ollama_authority:
        # Checked before workers need it.
        load_authority(ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT), Path(settings.ollama_authority))
    if settings.fleet_tls is not None:
        certificates = Reloaded(settings.fleet_tls, "client", fleet_certificates, "workers")
        name = FrontendSettings.flag("fleet_tls_worker_name")
        tls = FleetTls(certificates, settings.fleet_tls_worker_name, name)
    fleet = Fleet(
        discoveries_of(settings.worker_addresses),
        partial(connect, tls=tls, ollama_authority=settings.ollama_authority),
        policy_of(settings.policy),
        QueueTable(
            settings.max_queue,
            settings.move_wait_seconds,
            LongPrompts(settings.short_prompt_tokens, settings.short_places_percent),
        ),
        settings.stall_seconds,
        Hosts(discoveries_of(settings.hosts), tls) if settings.hosts else None,
        settings.load_timeout_seconds,
    )
    return FrontendServer(settings, fleet, tracing, certificates)


def listen(address: str) -> socket.socket:
    """Bind before anything else starts, so that a port in use is reported at once."""
    host, port = split_address(address)
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind((host, port))
    listener.listen(BACKLOG)
    listener.set_inheritable(True)
    return listener


def _explain(address: str, error: OSError) -> str:
    if error.errno == errno.EADDRINUSE:
        return f"port in use: something listens on {address} already; choose another with --listen host:port"
    return f"cannot listen on {address}: {error}; the address is set by {FrontendSettings.names_of('listen')}"


if __name__ == "__main__":
    sys.exit(main())
