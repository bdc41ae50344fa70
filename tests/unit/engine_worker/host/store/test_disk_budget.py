"""The disk budget while several files are written at once, some of unknown size."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier

import pytest

from drover.errors import InvalidRequest, StoreFull
from engine_worker.host.store import blobs as blobs_module
from engine_worker.host.store.blobs import Blobs, PartialBlob
from engine_worker.host.store.store import Store
from tests.unit.engine_worker.host.conftest import digest_of

SECONDS = 30.0
BUDGET = 15
DATA = b"0123456789"


@pytest.fixture
def blobs(tmp_path: Path) -> Blobs:
    return Blobs(tmp_path / "blobs", BUDGET)


def test_two_uploads_together(blobs: Blobs) -> None:
    first, second = (blobs.begin_unknown(digest_of(DATA)) for _ in range(2))
    first.write(DATA)
    with pytest.raises(StoreFull, match="more than the 5 bytes that the store has free"):
        second.write(DATA)
    first.commit()
    assert blobs.used_bytes == len(DATA)


@pytest.mark.parametrize("pull_begins", [0, 1])
def test_an_upload_and_a_pull_together(blobs: Blobs, pull_begins: int) -> None:
    """The pull has what it needs from its begin on; the upload what it has written."""
    upload = blobs.begin_unknown(digest_of(b"upload"))
    upload.write(b"up"[:pull_begins])
    pull = blobs.begin(digest_of(DATA), len(DATA))
    upload.write(b"loads"[pull_begins:])
    with pytest.raises(StoreFull, match="more than the 5 bytes"):
        upload.write(b"!")
    pull.write(DATA)
    pull.commit()
    assert blobs.used_bytes == len(DATA)


def test_a_file_in_memory_takes_no_room_of_a_pull(blobs: Blobs) -> None:
    pull = blobs.begin(digest_of(DATA), len(DATA))
    with pytest.raises(StoreFull):
        blobs.put(b"six___")
    blobs.put(b"five_")
    pull.write(DATA)
    pull.commit()
    assert blobs.used_bytes == BUDGET


def _mismatch(partial: PartialBlob) -> None:
    with pytest.raises(InvalidRequest, match="digest mismatch"):
        partial.commit()


def _too_long(partial: PartialBlob) -> None:
    with pytest.raises(StoreFull):
        partial.write(DATA)


@pytest.mark.parametrize("end", [PartialBlob.discard, _mismatch, _too_long])
def test_a_failed_upload_gives_its_room_back(blobs: Blobs, end: Callable[[PartialBlob], None]) -> None:
    upload = blobs.begin_unknown(digest_of(b"another"))
    upload.write(DATA)
    with pytest.raises(StoreFull):
        blobs.begin(digest_of(DATA), len(DATA))
    end(upload)
    blobs.begin(digest_of(DATA), len(DATA)).close()


def test_it_holds_at_each_moment(tmp_path: Path) -> None:
    """Many writers in threads of their own want twice of what there is. A file is whole, or refused.

    What is used is counted while all of them wait for each other: the sum of files that change would be that
    of no moment.
    """
    count, size, piece = 16, 64 << 10, 1 << 10
    blobs = Blobs(tmp_path / "blobs", count * size // 2)
    used: list[int] = []
    together = Barrier(count, lambda: used.append(blobs.used_bytes), timeout=SECONDS)

    def begun(number: int, digest: str) -> PartialBlob | None:
        try:
            return blobs.begin(digest, size) if number % 2 else blobs.begin_unknown(digest)
        except StoreFull:
            return None

    def write(number: int) -> bool:
        data = number.to_bytes(1, "little") * size
        together.wait()
        partial = begun(number, digest_of(data))
        for begin in range(0, size, piece):
            try:
                if partial is not None:
                    partial.write(data[begin : begin + piece])
            except StoreFull:
                partial = None
            together.wait()
        if partial is not None:
            partial.commit()
        return partial is not None

    with ThreadPoolExecutor(count) as threads:
        ended = list(threads.map(write, range(count)))
    assert max(used) <= blobs.budget_bytes
    whole = sum(path.stat().st_size for path in (tmp_path / "blobs").iterdir())
    assert whole == size * sum(ended)
    assert 0 < sum(ended) <= count // 2


def test_few_writes_look_through_the_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blobs_module, "_GRANT_BYTES", 100)
    blobs, looks = Blobs(tmp_path / "blobs", 100_000), 0
    files = blobs._files

    def look() -> list[Path]:
        nonlocal looks
        looks += 1
        return files()

    monkeypatch.setattr(blobs, "_files", look)
    partial = blobs.begin_unknown(digest_of(DATA * 100))
    for _ in range(100):
        partial.write(DATA)
    partial.commit()
    assert looks == 10


def test_files_that_are_written_are_not_pruned(tmp_path: Path) -> None:
    store = Store(tmp_path)
    upload = store.blobs.begin_unknown(digest_of(DATA))
    upload.write(DATA)
    assert store.prune() == (0, 0)
    upload.commit()
    assert store.prune() == (1, len(DATA))
    store.close()


def test_a_file_that_is_begun_while_others_are_pruned_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, begun = Store(tmp_path), list[PartialBlob]()
    written = store.blobs._written

    def then_begin() -> set[str]:
        names = written()
        begun.append(store.blobs.begin_unknown(digest_of(DATA)))
        return names

    monkeypatch.setattr(store.blobs, "_written", then_begin)
    assert store.prune() == (0, 0)
    begun[0].write(DATA)
    begun[0].commit()
    assert store.blobs.size(digest_of(DATA)) == len(DATA)
    store.close()
