"""Where workers are: one way per file, base.py is the seam."""

from __future__ import annotations

from collections.abc import Sequence

from frontend.fleet.discovery.base import Discovery
from frontend.fleet.discovery.dns import DNS, DnsNames
from frontend.fleet.discovery.static import Static


def discoveries_of(places: Sequence[str]) -> list[Discovery]:
    """Of the setting `workers`."""
    names = [place.removeprefix(DNS) for place in places if place.startswith(DNS)]
    fixed = [place for place in places if not place.startswith(DNS)]
    found: list[Discovery] = [DnsNames(names)] if names else []
    return [Static(fixed), *found] if fixed else found
