"""Keys of sequences of texts."""

from __future__ import annotations

from drover.digests import digest_of


def test_texts_are_not_only_joined() -> None:
    assert digest_of(["ab", "c"]) != digest_of(["a", "bc"]) != digest_of(["abc"])
    assert digest_of(["a", ""]) != digest_of(["a"])


def test_the_same_texts_have_the_same_digest_on_every_frontend() -> None:
    assert digest_of(["smol", "", "ü\ud800"]).hex() == digest_of(iter(["smol", "", "ü\ud800"])).hex()
    assert len(digest_of([])) == 16
