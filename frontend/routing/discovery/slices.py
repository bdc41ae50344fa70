"""What EndpointSlices say: which addresses of a Service are workers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from drover.settings import with_port


class _Sent(BaseModel):
    """Go leaves out what is empty, or sends null for it."""

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
        """Not told means yes, says the API."""
        return self.conditions is None or self.conditions.ready is not False


class Port(_Sent):
    name: str | None = None
    port: int | None = None


class Slice(_Sent):
    """Of `discovery.k8s.io/v1`, as far as it matters here."""

    family: Literal["IPv4", "IPv6"] = Field(alias="addressType")
    endpoints: list[Endpoint] | None = None
    ports: list[Port] | None = None

    def port_of(self, wanted: str) -> int | None:
        """`wanted`: a number, or the name of a port of the pods."""
        if wanted.isdecimal():
            return int(wanted)
        return next((port.port for port in self.ports or () if port.name == wanted), None)


def addresses_of(slices: Sequence[Slice], port: str, kept: frozenset[str]) -> list[str]:
    """Each worker once, sorted. One joins when it is ready, and keeps its place (`kept`) until it is in no
    slice any more: whether it takes requests it says itself. A pod that has addresses of both families is one
    worker, at the one it has been found at, else at the IPv4 one.
    """
    found: dict[str, str] = {}
    for pod, address, is_ready in sorted(_places(slices, port), key=lambda place: _preference(place, kept)):
        if is_ready or address in kept:
            found.setdefault(pod, address)
    return sorted(set(found.values()))


def _places(slices: Sequence[Slice], port: str) -> Iterator[tuple[str, str, bool]]:
    """A pod (or, where none is named, its address), the address, whether it is ready."""
    for held in slices:
        number = held.port_of(port)
        if number is None:
            continue
        for endpoint in held.endpoints or ():
            # No meaning is defined for further ones.
            address = with_port(endpoint.addresses[0], number)
            pod = endpoint.target.uid if endpoint.target else ""
            yield pod or address, address, endpoint.is_ready


def _preference(place: tuple[str, str, bool], kept: frozenset[str]) -> tuple[bool, bool, str]:
    _, address, _ = place
    return address not in kept, address.startswith("["), address
