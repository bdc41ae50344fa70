"""One case: a body derived from a seed and a number, and its result."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from random import Random

from drover.errors import DroverError
from drover.go_template.errors import TemplateError
from drover.json_value import Json
from frontend.api.core.go_json import loads
from tests.fuzz import mutate_bytes, mutate_json
from tests.fuzz.corpus import bodies
from tests.fuzz.targets import TARGETS, TEMPLATES

# More of the bodies that have more in them.
_WEIGHTS: Mapping[str, int] = {"/api/chat": 5, "/api/generate": 4, "/api/create": 3, TEMPLATES: 4}
_BYTES_SHARE = 0.4
ACCEPTED = "accepted"


@dataclass(frozen=True, slots=True)
class Case:
    target: str
    body: bytes


@dataclass(frozen=True, slots=True)
class Outcome:
    """`name`: `accepted`, or the error's type; `crash`: what must not come out, with its place."""

    name: str
    cpu_seconds: float
    crash: str = ""


class Cases:
    def __init__(self, seed: int) -> None:
        self._seed = seed
        self._bodies = bodies()
        self._values = {target: _parsed(each) for target, each in self._bodies.items()}
        self._everything = [value for each in self._values.values() for value in each]
        self._targets = list(TARGETS)
        self._weights = [_WEIGHTS.get(target, 1) for target in self._targets]

    def __getitem__(self, number: int) -> Case:
        dice = Random(f"{self._seed}:{number}")
        target = dice.choices(self._targets, self._weights)[0]
        if target == TEMPLATES:
            source = dice.choice(self._bodies[target])
            return Case(target, mutate_bytes.mutated(source, dice, mutate_bytes.TEMPLATE_WORDS))
        if dice.random() < _BYTES_SHARE:
            body = dice.choice(self._bodies[target])
            return Case(target, mutate_bytes.mutated(body, dice, mutate_bytes.JSON_WORDS))
        value = dice.choice(self._values[target])
        return Case(target, mutate_json.mutated(value, dice, self._everything))


def _parsed(recorded: Sequence[bytes]) -> list[Json]:
    values = []
    for body in recorded:
        try:
            values.append(loads(body))
        except DroverError:
            # A recorded mistake: only its bytes can be mutated.
            continue
    return values


def outcome_of(case: Case) -> Outcome:
    began = time.process_time()
    name, crash = ACCEPTED, ""
    try:
        TARGETS[case.target](case.body)
    except DroverError as error:
        name = type(error).__name__
    except TemplateError as error:
        name = type(error).__name__
        if case.target != TEMPLATES:
            crash = _place(error)
    except Exception as error:  # noqa: BLE001 - whatever else comes out is what is looked for
        name = type(error).__name__
        crash = _place(error)
    return Outcome(name, time.process_time() - began, crash)


def _place(error: Exception) -> str:
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    at = f"{trace.tb_frame.f_code.co_filename}:{trace.tb_lineno}" if trace is not None else "nowhere"
    return f"{type(error).__name__} at {at}"
