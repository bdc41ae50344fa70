"""`drover-host list` and `drover-host prune`: of a host that runs, or of its store while none does."""

from __future__ import annotations

import sys
from argparse import SUPPRESS, ArgumentParser, ArgumentTypeError, Namespace
from collections.abc import Iterable
from contextlib import suppress

import grpc

from drover.errors import DroverError, StoreUnavailable
from drover.rpc import CHANNEL_OPTIONS
from drover.v1 import host_pb2, host_pb2_grpc
from engine_worker.host.models.catalog import Catalog
from engine_worker.host.models.records import LoadRecords
from engine_worker.host.server import gpus_of, readers_of
from engine_worker.host.settings import HostSettings
from engine_worker.host.store.local import local_address
from engine_worker.host.store.store import UPLOAD_SECONDS, Store, StoreInUse

NAMES = ("list", "prune")
_HOUR_SECONDS = 3600
_HELP = ("-h", "--help")
_USAGES = {
    "list": "usage: drover-host list [--store FOLDER]\n\nShows the models of a store, and their states if "
    "a host uses it.",
    "prune": "usage: drover-host prune [--dry-run] [--older-than HOURS] [--store FOLDER]\n\n"
    f"Removes files that no model has and that are older than {UPLOAD_SECONDS // _HOUR_SECONDS} hours: a "
    "model may still be made of\nyounger ones. --older-than sets another number; 0: all but those that a "
    "host writes at\nthe moment. --dry-run only counts them.",
}
_SECONDS = 60.0
_MAX_HOURS = 1e6
_MIB = 1 << 20
_STATES = {
    host_pb2.Child.LOADING: "loading",
    host_pb2.Child.READY: "loaded",
    host_pb2.Child.DRAINING: "draining",
}
Row = tuple[str, int, int, str, str]
"""Name, size and memory in bytes, engine, state."""


class _Pruning(Namespace):
    """The flags of `prune`. `older_than`: in hours."""

    dry_run: bool = False
    older_than: float = UPLOAD_SECONDS / _HOUR_SECONDS

    @property
    def seconds(self) -> int:
        return round(self.older_than * _HOUR_SECONDS)


def run(name: str, arguments: list[str]) -> int:
    """The exit status. `arguments`: a host's flags, of which --store counts, and those of `prune`."""
    if any(each in _HELP for each in arguments):
        print(_USAGES[name])  # noqa: T201 - it is the result
        return 0
    pruning = _Pruning()
    if name == "prune":
        _, arguments = _parser().parse_known_args(arguments, pruning)
    settings = HostSettings.load(arguments)
    try:
        text = _list(settings) if name == "list" else _prune(settings, pruning)
    except grpc.RpcError as error:
        # Its other base class, grpc.Call, has the words.
        details = getattr(error, "details", None)
        return _failed(str(details() if details else error))
    except (DroverError, OSError) as error:
        return _failed(str(error))
    print(text)  # noqa: T201 - it is the result
    return 0


def _parser() -> ArgumentParser:
    parser = ArgumentParser(
        prog="drover-host prune", add_help=False, allow_abbrev=False, argument_default=SUPPRESS
    )
    parser.add_argument("--dry-run", action="store_true")
    parser.add_argument("--older-than", type=_hours)
    return parser


def _hours(text: str) -> float:
    with suppress(ValueError):
        hours = float(text)
        if 0 <= hours < _MAX_HOURS:
            return hours
    raise ArgumentTypeError(f"{text[:100]!r} is no number of hours")


def _failed(problem: str) -> int:
    sys.stderr.write(f"{problem}\n")
    return 1


def _list(settings: HostSettings) -> str:
    try:
        store = _opened(settings)
    except StoreInUse:
        with _channel(settings) as channel:
            return _table(_rows_of_host(host_pb2_grpc.HostStub(channel)))
    try:
        return _table(_rows_of_store(settings, store))
    finally:
        store.close()


def _prune(settings: HostSettings, pruning: _Pruning) -> str:
    try:
        store = _opened(settings)
    except StoreInUse:
        with _channel(settings) as channel:
            request = host_pb2.PruneRequest(dry_run=pruning.dry_run, older_than_seconds=pruning.seconds)
            answer = host_pb2_grpc.HostStub(channel).Prune(request, timeout=_SECONDS)
            return _pruned(answer.files, answer.bytes, pruning)
    try:
        return _pruned(*store.prune(pruning.dry_run, pruning.seconds), pruning)
    finally:
        store.close()


def _opened(settings: HostSettings) -> Store:
    """Raises StoreInUse, StoreUnavailable, also if there is no store."""
    folder = settings.store_folder
    if not folder.exists():
        raise StoreUnavailable(f"there is no store at {folder}: name the folder of one (--store)")
    return Store(folder)


def _pruned(files: int, size_bytes: int, pruning: _Pruning) -> str:
    done = "would be removed" if pruning.dry_run else "removed"
    which = f" and older than {pruning.older_than:g} hours (--older-than)" if pruning.older_than else ""
    return f"{done}: {files} files without a model{which}, {size_bytes / _MIB:.1f} MiB"


def _channel(settings: HostSettings) -> grpc.Channel:
    address = local_address(settings.store_folder)
    if not address:
        raise StoreUnavailable(
            f"a host uses {settings.store_folder}, whose path is too long for a socket: stop the host first"
        )
    return grpc.insecure_channel(address, options=CHANNEL_OPTIONS)


def _rows_of_host(host: host_pb2_grpc.HostStub) -> Iterable[Row]:
    call = host.Watch(host_pb2.WatchHostRequest(), timeout=_SECONDS)
    state = next(iter(call))
    call.cancel()
    states = {child.digest: _STATES.get(child.state, "") for child in state.children}
    for each in state.stored.models:
        words = states.get(each.card.manifest, each.unusable)
        yield each.card.names[0], each.card.size_bytes, each.memory_bytes, each.engine, words


def _rows_of_store(settings: HostSettings, store: Store) -> Iterable[Row]:
    catalog = Catalog(
        store,
        readers_of(store, settings, gpus_of(settings)),
        LoadRecords(settings.store_folder / "loads"),
        settings.model_rules,
    )
    catalog.refresh()
    for model in catalog.models:
        size, memory = model.manifest.size_bytes, catalog.needs(model).memory_bytes
        yield model.name.short, size, memory, model.engine, model.unusable


def _table(rows: Iterable[Row]) -> str:
    lines = [("NAME", "SIZE MiB", "MEMORY MiB", "ENGINE", "STATE")]
    lines += [
        (name, f"{size / _MIB:.1f}", f"{memory / _MIB:.0f}", engine, state)
        for name, size, memory, engine, state in sorted(rows)
    ]
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
    return "\n".join(
        "  ".join(part.ljust(width) for part, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    )
