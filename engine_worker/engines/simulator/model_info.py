"""What the simulator says of itself as a model."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Sequence
from typing import Literal

from drover.v1 import engine_pb2 as pb
from engine_worker.engines.simulator.embedding import COMPONENTS
from engine_worker.engines.simulator.prompt import TEMPLATE
from engine_worker.engines.simulator.script import Scripts
from engine_worker.engines.simulator.shape import Shape

Task = Literal["generate", "embed"]

ENGINE_KIND = "simulator"
ENGINE_VERSION = "1"

_DESCRIPTION = (
    "No model: an engine that makes up text at a configured speed, for load tests and demonstrations."
)
_LICENSE = "This is not a model but a simulator: it has no weights, and what it says means nothing."
_MODIFIED_UNIX_NS = 1_767_225_600_000_000_000  # 2026-01-01T00:00:00Z


def model_card(names: Sequence[str], shape: Shape, scripts: Scripts, task: Task) -> pb.Model:
    return pb.Model(
        names=names,
        digest=_digest(shape, scripts, task),
        context_length=shape.context_length,
        trained_context_length=shape.context_length,
        embedding_length=COMPONENTS,
        parameter_size="0",
        format="simulator",
        family="simulator",
        families=["simulator"],
        template=TEMPLATE,
        licenses=[_LICENSE],
        capabilities=_capabilities(scripts, task),
        engine_kind=ENGINE_KIND,
        engine_version=ENGINE_VERSION,
        modified_unix_ns=_MODIFIED_UNIX_NS,
        model_info_json=_model_info(shape),
    )


def _capabilities(scripts: Scripts, task: Task) -> pb.Capabilities:
    if task == "embed":
        return pb.Capabilities(embedding=True)
    return pb.Capabilities(
        completion=True,
        logprobs=True,
        seed=True,
        resume=True,
        tools=scripts.call_tools,
        thinking=scripts.think,
    )


def _digest(shape: Shape, scripts: Scripts, task: Task) -> str:
    """Equal wherever the same prompts get the same answers at the same speed; paths do not matter."""
    fields = {name: value for name, value in dataclasses.asdict(shape).items() if name != "script_path"}
    form = {"version": ENGINE_VERSION, "task": task, "shape": fields, "script": scripts.source}
    return hashlib.sha256(json.dumps(form, sort_keys=True).encode()).hexdigest()


def _model_info(shape: Shape) -> str:
    return json.dumps(
        {
            "general.architecture": "simulator",
            "general.description": _DESCRIPTION,
            "general.parameter_count": 0,
            "simulator.context_length": shape.context_length,
            "simulator.embedding_length": COMPONENTS,
        }
    )
