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
    key, limits = stored.key, stored.key.limits
    return {
        "id": key.id,
        "name": key.name,
        "role": key.role.value,
        "state": stored.state(),
        "models": list(key.models),
        "requests_per_minute": limits.requests_per_minute,
        "tokens_per_minute": limits.tokens_per_minute,
        "streams": limits.streams,
        "priority": key.priority,
        "weight": key.weight,
        "created": stored.created_unix,
        "expires": key.expires_unix,
    }
