"""Fields of a request without effect.

A field is harmless to ignore (it names the user, or controls prompt caching), or it is named in
X-Drover-Not-Honoured, or it is refused, since ignoring it would change the meaning of the request. Unknown
fields are named.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from drover.errors import InvalidRequest
from drover.json_value import Json

Refusal = Callable[[Json], InvalidRequest | None]
"""Returns the error for a field's value; None where the value changes nothing."""


@dataclass(frozen=True, slots=True)
class Fields:
    """The known fields of one kind of request. `read`: fields that have an effect; `inner`: the fields of the
    objects among them.
    """

    read: Collection[str]
    harmless: Collection[str] = frozenset()
    refused: Mapping[str, Refusal] = field(default_factory=lambda: MappingProxyType({}))
    inner: Mapping[str, Fields] = field(default_factory=lambda: MappingProxyType({}))

    def without_effect(self, body: Json, within: str = "") -> list[str]:
        """Names of fields without effect, in a body or the object `within` it. Raises InvalidRequest for a
        field that cannot be ignored.
        """
        names: list[str] = []
        for key, value in body.items() if isinstance(body, dict) else ():
            name = key if key in self.read else key.lower()
            if name in self.inner:
                names += self.inner[name].without_effect(value, f"{within}{name}.")
            if name in self.read or name in self.harmless or _is_empty(value):
                continue
            if (refusal := self.refused.get(name)) is None:
                names.append(f"{within}{key}")
            elif (problem := refusal(value)) is not None:
                raise problem
        return names


def refused(reason: str) -> Refusal:
    """Refuse a field for any value."""
    return lambda value: InvalidRequest(reason)


def _is_empty(value: Json) -> bool:
    return value is None or value is False or value == "" or value == [] or value == {}
