"""The simulator's description of its model."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Sequence

from drover.v1 import engine_pb2 as pb
from engine_worker.engines.simulator.config import SimulatorConfig
from engine_worker.engines.simulator.prompt import TEMPLATE
from engine_worker.engines.simulator.script import Scripts
from engine_worker.engines.simulator.text import COMPONENTS
from engine_worker.settings import Task

ENGINE_KIND = "simulator"
ENGINE_VERSION = "1"

_DESCRIPTION = (
    "No model: an engine that makes up text at a configured speed, for load tests and demonstrations."
)
_LICENSE = "This is not a model but a simulator: it has no weights, and what it says means nothing."
_MODIFIED_UNIX_NS = 1_767_225_600_000_000_000  # 2026-01-01T00:00:00Z


def describe_model(names: Sequence[str], config: SimulatorConfig, scripts: Scripts, task: Task) -> pb.Model:
    return pb.Model(
        names=names,
        digest=_digest(config, scripts, task),
        context_length=config.context_length,
        trained_context_length=config.context_length,
        embedding_length=COMPONENTS,
        parameter_size="0",
        format="simulator",
        family="simulator",
        families=["simulator"],
        template=TEMPLATE,
        template_source="renderer" if task == "generate" else "none",
        renderer=ENGINE_KIND if task == "generate" else "",
        licenses=[_LICENSE],
        capabilities=_capabilities(scripts, task),
        engine_kind=ENGINE_KIND,
        engine_version=ENGINE_VERSION,
        modified_unix_ns=_MODIFIED_UNIX_NS,
        model_info_json=_model_info(config),
    )


def _capabilities(scripts: Scripts, task: Task) -> pb.Capabilities:
    if task != "generate":
        return pb.Capabilities(
            embedding=task == "embed", rerank=task == "rerank", classify=task == "classify"
        )
    return pb.Capabilities(
        completion=True,
        logprobs=True,
        seed=True,
        resume=True,
        tools=scripts.call_tools,
        thinking=scripts.think,
    )


def _digest(config: SimulatorConfig, scripts: Scripts, task: Task) -> str:
    """A hash of what determines answers and speed; paths do not count."""
    fields = {name: value for name, value in dataclasses.asdict(config).items() if name != "script_path"}
    form = {"version": ENGINE_VERSION, "task": task, "shape": fields, "script": scripts.source}
    return hashlib.sha256(json.dumps(form, sort_keys=True).encode()).hexdigest()


def _model_info(config: SimulatorConfig) -> str:
    return json.dumps(
        {
            "general.architecture": "simulator",
            "general.description": _DESCRIPTION,
            "general.parameter_count": 0,
            "simulator.context_length": config.context_length,
            "simulator.embedding_length": COMPONENTS,
        }
    )
