"""Where workers are: one way per file, base.py is the seam."""

from __future__ import annotations

import os
from collections.abc import Sequence

from frontend.routing.discovery.base import Discovery
from frontend.routing.discovery.dns import DNS, DnsNames
from frontend.routing.discovery.service import K8S, Service
from frontend.routing.discovery.static import Static


def discoveries_of(places: Sequence[str]) -> list[Discovery]:
    """Of the setting `workers`, which has been checked."""
    names = [place.removeprefix(DNS) for place in places if place.startswith(DNS)]
    services = [place for place in places if place.startswith(K8S)]
    fixed = [place for place in places if not place.startswith((DNS, K8S))]
    found: list[Discovery] = [Static(fixed)] if fixed else []
    if names:
        found.append(DnsNames(names))
    found.extend(_of_service(place) for place in services)
    return found


def _of_service(place: str) -> Discovery:
    """Kubernetes' API takes an HTTP client and models of its answers: only who asks it imports these."""
    from frontend.routing.discovery.endpoint_slices import EndpointSlices
    from frontend.routing.discovery.kubernetes_api import ApiServer

    return EndpointSlices(Service.parse(place.removeprefix(K8S)), ApiServer.of_this_pod(os.environ))


def check_service(place: str) -> None:
    """Raises ValueError where a `k8s:` place is none, or cannot be watched from here."""
    _of_service(place)
