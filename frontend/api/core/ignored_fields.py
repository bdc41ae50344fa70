"""Fields of a request that this server does not act on.

Each is harmless to ignore (it says whose request this is, or how its prompt is cached), or it is named in
X-Drover-Not-Honoured, or it is refused, since the answer would be one to another request. Unknown
fields are named.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from drover.errors import InvalidRequest
from drover.json_value import Json

Refusal = Callable[[Json], InvalidRequest | None]
"""What is wrong with a field's value; None where it changes nothing."""


@dataclass(frozen=True, slots=True)
class Fields:
    """Of one kind of request. `read`: fields that something here acts on; `inner`: those of the objects among
    them.
    """

    read: Collection[str]
    harmless: Collection[str] = frozenset()
    refused: Mapping[str, Refusal] = field(default_factory=lambda: MappingProxyType({}))
    inner: Mapping[str, Fields] = field(default_factory=lambda: MappingProxyType({}))

    def without_effect(self, body: Json, within: str = "") -> list[str]:
        """The fields of a body to name so, or of the object `within` one. Raises InvalidRequest for one that
        cannot be ignored.
        """
        names: list[str] = []
        for key, value in body.items() if isinstance(body, dict) else ():
            name = key if key in self.read else key.lower()
            if name in self.inner:
                names += self.inner[name].without_effect(value, f"{within}{name}.")
            if name in self.read or name in self.harmless or _says_nothing(value):
                continue
            if (refusal := self.refused.get(name)) is None:
                names.append(f"{within}{key}")
            elif (problem := refusal(value)) is not None:
                raise problem
        return names


def refused(reason: str) -> Refusal:
    """Whatever the value is."""
    return lambda value: InvalidRequest(reason)


def _says_nothing(value: Json) -> bool:
    return value is None or value is False or value == "" or value == [] or value == {}
