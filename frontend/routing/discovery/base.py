"""Interface of discovery."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from typing import Protocol


class Discovery(Protocol):
    def addresses(self) -> AsyncGenerator[Sequence[str], None]:
        """Yield the complete list of addresses, at once and whenever it has changed. Never ends and never
        raises: while the source cannot be reached, the list stays as it is.
        """
