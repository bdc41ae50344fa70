"""An engine without a model, for load tests, demonstrations and chaos tests."""

from engine_worker.engines.simulator.engine import SimulatorEngine
from engine_worker.engines.simulator.script import ScriptError
from engine_worker.engines.simulator.shape import Shape

__all__ = ["ScriptError", "Shape", "SimulatorEngine"]
