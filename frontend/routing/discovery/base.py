"""The seam of discovery."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from typing import Protocol


class Discovery(Protocol):
    def addresses(self) -> AsyncGenerator[Sequence[str], None]:
        """All addresses there are, at once and again whenever they have changed. Never ends, never raises:
        what cannot be asked right now leaves things as they are.
        """
