"""An engine without a model, for load tests, demonstrations and chaos tests."""

from engine_worker.engines.simulator.config import SimulatorConfig
from engine_worker.engines.simulator.engine import SimulatorEngine
from engine_worker.engines.simulator.script import ScriptError

__all__ = ["ScriptError", "SimulatorConfig", "SimulatorEngine"]
