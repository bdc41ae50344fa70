"""Discovery of workers: one method per file; base.py is the interface."""

from __future__ import annotations

import os
from collections.abc import Sequence

from frontend.routing.discovery.base import Discovery
from frontend.routing.discovery.dns import DNS, DnsNames
from frontend.routing.discovery.kubernetes_service import K8S, Service
from frontend.routing.discovery.static import Static


def discoveries_of(addresses: Sequence[str]) -> list[Discovery]:
    """The discoveries for the setting `workers`, which has been validated."""
    names = [address.removeprefix(DNS) for address in addresses if address.startswith(DNS)]
    services = [address for address in addresses if address.startswith(K8S)]
    fixed = [address for address in addresses if not address.startswith((DNS, K8S))]
    found: list[Discovery] = [Static(fixed)] if fixed else []
    if names:
        found.append(DnsNames(names))
    found.extend(_of_service(address) for address in services)
    return found


def _of_service(address: str) -> Discovery:
    """Imported only where it is configured: it needs an HTTP client and pydantic models."""
    from frontend.routing.discovery.endpoint_slices import EndpointSlices
    from frontend.routing.discovery.kubernetes_api import ApiServer

    return EndpointSlices(Service.parse(address.removeprefix(K8S)), ApiServer.of_this_pod(os.environ))


def check_service(address: str) -> None:
    """Raises ValueError if a `k8s:` address is invalid, or cannot be watched from here."""
    _of_service(address)
