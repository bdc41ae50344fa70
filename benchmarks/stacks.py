"""py-spy profiles: attributes each sample of a worker's process to an owner."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import Literal

Owner = Literal["engine's Python", "our adapter", "our relay", "HTTP client", "the rest"]
OWNERS: tuple[Owner, ...] = ("engine's Python", "our adapter", "our relay", "HTTP client", "the rest")

# Parts of paths, the first that fits counts: the engine's adapter before the rest of the worker. SGLang talks
# to its processes by ZeroMQ.
_PATHS: Mapping[str, Owner] = {
    "sglang/srt/": "engine's Python",
    "zmq/": "engine's Python",
    "engine_worker/engines/": "our adapter",
    "engine_worker/output/": "our adapter",
    "engine_worker/schemas/": "our adapter",
    "engine_worker/": "our relay",
    "drover/": "our relay",
    "aiohttp/": "HTTP client",
}
_MANAGER = ("sglang/srt/managers/tokenizer_manager.py", "zmq/")
_STARTS = (*_PATHS, "asyncio/", "uvloop/", "grpc/", "concurrent/", "threading.py")
_INSTALLED = "site-packages/"
_ENTRIES = ("engine_worker/__main__.py", "engine_worker/server.py")
"""Frames that are below everything the event loop runs."""


def samples(text: str) -> Iterator[tuple[list[str], int]]:
    """The stacks, outermost frame first, with their sample counts."""
    for line in text.splitlines():
        stack, _, count = line.rpartition(" ")
        yield stack.split(";"), int(count)


def owner(stack: Iterable[str]) -> Owner:
    """Whose innermost frame it is: what a library does is its caller's. Of SGLang, what its tokenizer manager
    does; what our adapter asks of it elsewhere (chat templates, snapshots of the load) is our adapter's.
    """
    # An environment's path may contain the name of one of these folders.
    paths = [frame.rpartition(_INSTALLED)[2] for frame in stack]
    found = [each for path in reversed(paths) if (each := _owner_of(path)) is not None]
    if not found:
        return "the rest"
    if found[0] == "engine's Python" and "our adapter" in found:
        return found[0] if any(part in path for path in paths for part in _MANAGER) else "our adapter"
    return found[0]


def _owner_of(path: str) -> Owner | None:
    if any(entry in path for entry in _ENTRIES):
        return None
    return next((owner for known, owner in _PATHS.items() if known in path), None)


def shares(text: str) -> Mapping[Owner, float]:
    """Shares of all samples."""
    counts: Counter[Owner] = Counter()
    for stack, count in samples(text):
        counts[owner(stack)] += count
    total = counts.total() or 1
    return {name: counts[name] / total for name in OWNERS}


def functions(text: str, of: Owner, most: int = 12) -> list[tuple[str, float]]:
    """The owner's functions with most samples, with callees of other owners, and their shares."""
    counts: Counter[str] = Counter()
    total = 0
    for stack, count in samples(text):
        total += count
        if owner(stack) == of:
            counts[_own_function(stack, of)] += count
    return [(name, count / total) for name, count in counts.most_common(most)]


def _own_function(stack: list[str], of: Owner) -> str:
    """The owner's innermost frame, without the line number and the path before its package."""
    own = [frame for frame in stack if owner([frame]) == of]
    name, _, path = (own or stack)[-1].rpartition(":")[0].partition(" (")
    path = path.rpartition(_INSTALLED)[2]
    starts = [path.index(known) for known in _STARTS if known in path]
    return f"{name} ({path[min(starts, default=0) :]})"


def count(text: str) -> int:
    return sum(seen for _, seen in samples(text))
