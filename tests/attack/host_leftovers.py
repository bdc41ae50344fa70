"""Resources that a worker host holds, and what is in its store and next to it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from tests.attack.leftovers import descriptors, rss_mb
from tests.support.processes import ROOT, Process

# Names outside the store that the attacks try to write.
ESCAPED = "escaped"
_BY_CHANCE = 3
# Python's allocator keeps pieces of what the first crowd took.
_GROWTH = 1.15
_IN_STORE = {".lock", "host.sock", "blobs", "id", "loads", "manifests", "views", "workers"}
# Of an upload that is written; downloads that can be continued have the digest only.
_UPLOADS = "sha256-*-*-partial"


@dataclass(frozen=True)
class HostHeld:
    descriptors: int
    rss_mb: float

    @classmethod
    def of(cls, one: Process) -> HostHeld:
        return cls(descriptors(one.pid), rss_mb(one))

    def why_more_than(self, before: HostHeld) -> str:
        """Empty where it is not."""
        if self.descriptors > before.descriptors + _BY_CHANCE:
            return "descriptors are left"
        if self.rss_mb > before.rss_mb * _GROWTH:
            return "memory is left"
        return ""


def check_store(folder: Path, store: Path, models: set[str]) -> None:
    """Only `models` are listed, and nothing was written outside the store. `folder`: of the test."""
    assert {path.name for path in store.iterdir()} <= _IN_STORE
    manifests = [path for path in (store / "manifests").rglob("*") if path.is_file()]
    assert {f"{path.parent.name}:{path.name}" for path in manifests} == models
    assert not list((store / "blobs").glob(_UPLOADS))
    assert all(path.parent == store / "blobs" for path in (store / "blobs").rglob("*"))
    views = list((store / "views").iterdir()) if (store / "views").is_dir() else []
    assert len(views) <= len(models) * 4, f"{len(views)} views are left"
    for place in (*folder.parents, ROOT, Path.cwd()):
        assert not list(place.glob(f"*{ESCAPED}*")), place
    assert not [path for path in folder.rglob(f"*{ESCAPED}*") if store / "blobs" not in path.parents]
