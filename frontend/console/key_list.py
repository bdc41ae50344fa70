"""The keys as the page lists them, without their digests."""

from __future__ import annotations

from collections.abc import Iterable

from drover.json_value import Json
from frontend.access.stored_key import StoredKey


def key_list(keys: Iterable[StoredKey]) -> list[Json]:
    """Those in use first, by their names."""
    ordered = sorted(keys, key=lambda each: (each.state() != "active", each.key.name))
    return [_key(each) for each in ordered]


def _key(stored: StoredKey) -> Json:
    return stored.described() | {"created": stored.created_unix, "expires": stored.key.expires_unix}
