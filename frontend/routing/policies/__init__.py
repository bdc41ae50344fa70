"""Load-balancing policies: one per file; base.py is the interface."""

from __future__ import annotations

from typing import Literal

from frontend.routing.policies.base import Policy
from frontend.routing.policies.least_load import LeastLoad
from frontend.routing.policies.power_of_two import PowerOfTwo
from frontend.routing.policies.prefix import Prefix
from frontend.routing.policies.round_robin import RoundRobin

PolicyName = Literal["prefix", "least_load", "round_robin", "power_of_two"]


def policy_of(name: PolicyName) -> Policy:
    match name:
        case "prefix":
            return Prefix()
        case "least_load":
            return LeastLoad()
        case "round_robin":
            return RoundRobin()
        case "power_of_two":
            return PowerOfTwo()
