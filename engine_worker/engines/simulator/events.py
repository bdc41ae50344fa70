"""What answers are made of, one event for each engine step."""

from __future__ import annotations

from dataclasses import dataclass

from engine_worker.engines.simulator.tokens import bytes_of_all


@dataclass(frozen=True, slots=True)
class Piece:
    """Tokens that one step produces, and their bytes. `thinking`: they are reasoning, not content."""

    ids: tuple[int, ...]
    data: bytes
    thinking: bool = False

    def cut(self, tokens: int) -> Piece:
        ids = self.ids[:tokens]
        return Piece(ids, bytes_of_all(ids), self.thinking)


@dataclass(frozen=True, slots=True)
class Call:
    """A whole tool call and the tokens behind it. Without an id it gets one from the prompt."""

    name: str
    arguments_json: str
    id: str | None
    ids: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Pause:
    """Nothing comes for `milliseconds`; other requests go on."""

    milliseconds: float


@dataclass(frozen=True, slots=True)
class Hang:
    """The engine stops for `milliseconds`, under all of its requests."""

    milliseconds: float


@dataclass(frozen=True, slots=True)
class Fail:
    """The engine breaks down under this request."""

    message: str


Event = Piece | Call | Pause | Hang | Fail
