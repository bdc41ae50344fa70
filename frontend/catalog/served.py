"""A model that the fleet serves, under one of its names."""

from __future__ import annotations

from dataclasses import dataclass

from drover.names import ModelName
from drover.v1 import engine_pb2 as pb


@dataclass(frozen=True, slots=True)
class ServedModel:
    name: ModelName
    info: pb.Model
