"""Files by digest: resumed, checked, bounded."""

from __future__ import annotations

import errno
import os
import resource
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path

import pytest

from drover.errors import InvalidRequest, StoreFull, StoreUnavailable
from engine_worker.host.store.blobs import Blobs, PartialBlob
from tests.unit.engine_worker.host.conftest import digest_of

DATA = b"0123456789"


@pytest.fixture
def blobs(tmp_path: Path) -> Blobs:
    return Blobs(tmp_path / "blobs")


def test_a_file_is_there_when_it_is_whole(blobs: Blobs) -> None:
    partial = blobs.begin(digest_of(DATA), len(DATA))
    partial.write(DATA)
    assert blobs.size(digest_of(DATA)) is None
    partial.commit()
    assert blobs.size(digest_of(DATA)) == len(DATA)
    assert blobs.path(digest_of(DATA)).read_bytes() == DATA


def test_what_was_cut_off_is_continued(blobs: Blobs) -> None:
    first = blobs.begin(digest_of(DATA), len(DATA))
    first.write(DATA[:4])
    first.close()
    second = blobs.begin(digest_of(DATA), len(DATA))
    assert second.offset == 4
    second.write(DATA[4:])
    second.commit()
    assert blobs.path(digest_of(DATA)).read_bytes() == DATA


def test_a_source_that_cannot_continue_begins_anew(blobs: Blobs) -> None:
    first = blobs.begin(digest_of(DATA), len(DATA))
    first.write(b"????")
    first.close()
    second = blobs.begin(digest_of(DATA), len(DATA))
    second.restart()
    second.write(DATA)
    second.commit()
    assert blobs.size(digest_of(DATA)) == len(DATA)


@pytest.mark.parametrize("data", [DATA[:-1], DATA[:-1] + b"x"])
def test_a_file_that_is_not_what_it_claims_is_removed(blobs: Blobs, data: bytes) -> None:
    partial = blobs.begin(digest_of(DATA), len(DATA))
    partial.write(data)
    with pytest.raises(InvalidRequest, match="digest mismatch"):
        partial.commit()
    assert blobs.used_bytes == 0


def test_a_stream_longer_than_the_file_ends_at_once(blobs: Blobs) -> None:
    partial = blobs.begin(digest_of(DATA), len(DATA))
    with pytest.raises(InvalidRequest, match="more than the 10 bytes"):
        partial.write(DATA + b"x")
    assert blobs.used_bytes == 0


@pytest.mark.parametrize("digest", ["", "sha256:../../etc/passwd", "sha256-" + "a" * 64, "a" * 64])
def test_no_file_but_by_digest(blobs: Blobs, digest: str) -> None:
    with pytest.raises(InvalidRequest, match="is no digest"):
        blobs.path(digest)


def test_the_disk_budget_holds(tmp_path: Path) -> None:
    blobs = Blobs(tmp_path / "blobs", budget_bytes=15)
    first = blobs.begin(digest_of(DATA), len(DATA))
    first.write(DATA)
    first.commit()
    assert blobs.free_bytes == 5
    with pytest.raises(
        StoreFull, match="needs 10 bytes more, which is more than the 5 bytes that the store has free"
    ):
        blobs.begin(digest_of(b"another"), 10)


def test_the_disk_budget_holds_for_files_that_are_written_together(tmp_path: Path) -> None:
    blobs = Blobs(tmp_path / "blobs", budget_bytes=15)
    first = blobs.begin(digest_of(DATA), len(DATA))
    first.write(DATA[:4])
    with pytest.raises(StoreFull, match="more than the 5 bytes that the store has free"):
        blobs.begin(digest_of(b"another"), 7)
    first.close()
    blobs.begin(digest_of(b"another"), 7).close()


def test_a_full_disk_is_an_error_in_words(blobs: Blobs, monkeypatch: pytest.MonkeyPatch) -> None:
    partial = blobs.begin(digest_of(DATA), len(DATA))

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("engine_worker.host.store.blobs.os.fsync", full)
    partial.write(DATA)
    with pytest.raises(StoreFull, match="No space left on device"):
        partial.commit()
    assert blobs.size(digest_of(DATA)) is None


def test_a_file_that_cannot_be_opened_is_an_error_in_words(blobs: Blobs, tmp_path: Path) -> None:
    (tmp_path / "blobs").rmdir()
    with pytest.raises(StoreUnavailable, match="cannot be written: No such file or directory"):
        blobs.begin(digest_of(DATA), len(DATA))


def test_two_uploads_of_one_file_do_not_mix(blobs: Blobs) -> None:
    first, second = (blobs.begin_unknown(digest_of(DATA)) for _ in range(2))
    for begin in range(0, len(DATA), 5):
        for partial in (first, second):
            partial.write(DATA[begin : begin + 5])
    first.commit()
    second.commit()
    assert blobs.path(digest_of(DATA)).read_bytes() == DATA
    assert blobs.used_bytes == len(DATA)


def test_a_file_in_memory_is_kept_while_the_same_one_is_pulled(blobs: Blobs) -> None:
    pulled = blobs.begin(digest_of(DATA), len(DATA))
    pulled.write(DATA[:5])
    blobs.put(DATA)
    pulled.write(DATA[5:])
    pulled.commit()
    assert blobs.path(digest_of(DATA)).read_bytes() == DATA


def test_an_upload_that_was_cut_by_the_end_of_the_host_is_removed(tmp_path: Path, blobs: Blobs) -> None:
    upload, pulled = blobs.begin_unknown(digest_of(DATA)), blobs.begin(digest_of(b"pulled"), 6)
    for partial in (upload, pulled):
        partial.write(b"pul")
        partial.close()
    assert Blobs(tmp_path / "blobs").used_bytes == len(b"pul")


@pytest.mark.parametrize("end", [PartialBlob.commit, PartialBlob.discard, PartialBlob.close])
def test_a_disk_that_is_full_when_the_file_is_closed(
    blobs: Blobs, end: Callable[[PartialBlob], None]
) -> None:
    """What is buffered is written then, and once more when that has failed."""
    partial = blobs.begin_unknown(digest_of(DATA))
    partial.write(DATA)
    os.close(partial._file.fileno())
    with pytest.raises(StoreUnavailable) if end is PartialBlob.commit else nullcontext():
        end(partial)
    assert blobs.size(digest_of(DATA)) is None


@contextmanager
def files_of_at_most(size_bytes: int) -> Iterator[None]:
    """In this process: the kernel writes what fits, and refuses the rest, as on a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size_bytes, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_disk_that_fills_in_mid_file_keeps_what_was_written(blobs: Blobs) -> None:
    partial = blobs.begin(digest_of(DATA), len(DATA))
    with files_of_at_most(6):
        partial.write(DATA[:4])
        with pytest.raises(StoreFull, match="cannot be written: File too large"):
            partial.write(DATA[4:])
        partial.close()
    assert blobs.size(digest_of(DATA)) is None
    again = blobs.begin(digest_of(DATA), len(DATA))
    assert again.offset == 6
    again.write(DATA[6:])
    again.commit()
    assert blobs.path(digest_of(DATA)).read_bytes() == DATA


def test_a_file_that_did_not_fit_can_be_discarded(blobs: Blobs) -> None:
    partial = blobs.begin_unknown(digest_of(DATA))
    with files_of_at_most(6):
        with pytest.raises(StoreFull):
            partial.write(DATA)
        partial.discard()
    assert blobs.used_bytes == 0


def test_files_may_go_while_they_are_counted(blobs: Blobs, monkeypatch: pytest.MonkeyPatch) -> None:
    """Such as those of an upload that ends."""
    blobs.put(DATA)
    monkeypatch.setattr(blobs, "_files", lambda: [blobs.path(digest_of(each)) for each in (DATA, b"gone")])
    assert blobs.used_bytes == len(DATA)


def test_an_upload_that_needs_more_than_is_free(tmp_path: Path) -> None:
    blobs = Blobs(tmp_path / "blobs", budget_bytes=len(DATA) - 1)
    partial = blobs.begin_unknown(digest_of(DATA))
    with pytest.raises(StoreFull, match="more than the 9 bytes that the store has free"):
        partial.write(DATA)
    assert blobs.used_bytes == 0
