"""The worker hosts as the page lists them, with what they have in memory and load."""

from __future__ import annotations

from collections.abc import Iterable

from drover.durations import NS_PER_SECOND
from drover.json_value import Json
from drover.v1 import host_pb2
from frontend.routing.hosts.watched_host import WatchedHost

_CHILD_STATES = {
    host_pb2.Child.LOADING: "loading",
    host_pb2.Child.READY: "ready",
    host_pb2.Child.DRAINING: "draining",
}
_LISTED_TURNS = 8


def host_list(hosts: Iterable[WatchedHost]) -> list[Json]:
    return [_host(host) for host in sorted(hosts, key=lambda each: each.address)]


def loading_models(hosts: Iterable[WatchedHost]) -> list[str]:
    """The main names of models that hosts load now, each once for each host."""
    return [
        child.model
        for host in hosts
        for child in host.children.values()
        if child.state == host_pb2.Child.LOADING
    ]


def _host(host: WatchedHost) -> Json:
    shown: dict[str, Json] = {
        "address": host.address,
        "state": _state_of(host),
        "stored": len(host.served),
    }
    state = host.state
    if state is None:
        return shown
    waited_for: list[Json] = [host.stored[key].card.names[0] for key in state.turns if key in host.stored]
    figures: dict[str, Json] = {
        "models": [_child(child) for child in sorted(state.children, key=lambda each: each.model)],
        "next": waited_for[:_LISTED_TURNS],
        "memory_used": state.used_bytes,
        "memory": state.budget_bytes,
        "disk_free": state.disk_free_bytes,
    }
    return shown | figures


def _state_of(host: WatchedHost) -> str:
    if host.state is None:
        return "lost" if host.served else "unreachable"
    return "draining" if host.state.draining else "ready"


def _child(child: host_pb2.Child) -> Json:
    return {
        "model": child.model,
        "state": _CHILD_STATES.get(child.state, ""),
        "bytes": child.memory_bytes,
        "since": child.since_unix_ns // NS_PER_SECOND,
    }
