"""A coding agent as its user starts it, without a terminal."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import ClassVar

from drover.json_value import Json

MODEL = "sim"
# Tokens of prompt and answer. The longest prompt among the agents' is 20,000 tokens of the simulator's.
CONTEXT_TOKENS = 131_072


@dataclass(frozen=True, slots=True)
class Desk:
    """Where one run of an agent takes place. `url`: of the frontend; `modules`: where npm put the agents."""

    home: Path
    project: Path
    modules: Path
    url: str
    model: str


class Wire(Enum):
    """A protocol, by the route of its requests."""

    CHAT = "/v1/chat/completions"
    MESSAGES = "/v1/messages"
    RESPONSES = "/v1/responses"


class Agent(ABC):
    """`program`: what it is called. `side_requests`: how many it makes for itself at the start of a
    conversation, as for a title. `most_tries`: requests after which it must have ended where the model does
    not exist. `model`: the name that it is set up with.
    """

    program: ClassVar[str]
    model: ClassVar[str] = MODEL
    side_requests: ClassVar[int] = 0
    most_tries: ClassVar[int] = 1

    def __init__(self, wire: Wire = Wire.CHAT) -> None:
        self.wire = wire

    @property
    def name(self) -> str:
        return f"{self.program} {self.wire.name.lower()}"

    @property
    def route(self) -> str:
        return self.wire.value

    @abstractmethod
    def prepare(self, desk: Desk) -> Mapping[str, str]:
        """Write the agent's settings under `desk.home`; the environment variables that it needs."""

    @abstractmethod
    def command(self, desk: Desk, prompt: str) -> Sequence[str]: ...

    @abstractmethod
    def shell(self, command: str) -> dict[str, Json]:
        """The call of its tool that runs a shell command, as a simulator's script has it."""
