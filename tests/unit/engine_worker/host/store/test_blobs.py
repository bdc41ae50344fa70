"""Files by digest: resumed, checked, bounded."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from drover.errors import InvalidRequest, StoreUnavailable
from engine_worker.host.store.blobs import Blobs
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
    with pytest.raises(StoreUnavailable, match="needs 10 more bytes and the store has 5 free"):
        blobs.begin(digest_of(b"another"), 10)


def test_a_full_disk_is_an_error_in_words(blobs: Blobs, monkeypatch: pytest.MonkeyPatch) -> None:
    partial = blobs.begin(digest_of(DATA), len(DATA))

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("engine_worker.host.store.blobs.os.fsync", full)
    partial.write(DATA)
    with pytest.raises(StoreUnavailable, match="No space left on device"):
        partial.commit()
    assert blobs.size(digest_of(DATA)) is None
