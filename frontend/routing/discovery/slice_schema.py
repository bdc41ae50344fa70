"""EndpointSlices as the API sends them, and the workers' addresses in them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from drover.settings import with_port


class _Sent(BaseModel):
    """Go omits empty values, or sends null for them."""

    model_config = ConfigDict(extra="ignore", strict=True, populate_by_name=True)


class Conditions(_Sent):
    ready: bool | None = None


class TargetRef(_Sent):
    uid: str = ""


class Endpoint(_Sent):
    addresses: list[str] = Field(min_length=1)
    conditions: Conditions | None = None
    target: TargetRef | None = Field(default=None, alias="targetRef")

    @property
    def is_ready(self) -> bool:
        """A missing condition means ready, by the API's definition."""
        return self.conditions is None or self.conditions.ready is not False


class Port(_Sent):
    name: str | None = None
    port: int | None = None


class Slice(_Sent):
    """An EndpointSlice of `discovery.k8s.io/v1`, with the fields used here."""

    family: Literal["IPv4", "IPv6"] = Field(alias="addressType")
    endpoints: list[Endpoint] | None = None
    ports: list[Port] | None = None

    def port_of(self, wanted: str) -> int | None:
        """Number of a port. `wanted`: a number, or the name of a port of the pods."""
        if wanted.isdecimal():
            return int(wanted)
        return next((port.port for port in self.ports or () if port.name == wanted), None)


def addresses_of(slices: Sequence[Slice], port: str, kept: frozenset[str]) -> list[str]:
    """Addresses of the workers, each pod once, sorted.

    A pod is added when it is ready and stays (`kept`: the addresses so far) until no slice has it any more,
    since workers report their own readiness. A pod with addresses of both families keeps the one that it was
    found by first, IPv4 by preference.
    """
    found: dict[str, str] = {}
    for pod, address, is_ready in sorted(_candidates(slices, port), key=lambda each: _preference(each, kept)):
        if is_ready or address in kept:
            found.setdefault(pod, address)
    return sorted(set(found.values()))


def _candidates(slices: Sequence[Slice], port: str) -> Iterator[tuple[str, str, bool]]:
    """Pod (its address if it has no uid), address, and whether it is ready."""
    for held in slices:
        number = held.port_of(port)
        if number is None:
            continue
        for endpoint in held.endpoints or ():
            # The API defines no meaning for further addresses.
            address = with_port(endpoint.addresses[0], number)
            pod = endpoint.target.uid if endpoint.target else ""
            yield pod or address, address, endpoint.is_ready


def _preference(candidate: tuple[str, str, bool], kept: frozenset[str]) -> tuple[bool, bool, str]:
    _, address, _ = candidate
    return address not in kept, address.startswith("["), address
