from __future__ import annotations

from collections.abc import Mapping, Sequence

from drover.json_value import Json
from tests.agents.programs.base import Agent, Desk, Wire


class Copilot(Agent):
    program = "copilot"

    def prepare(self, desk: Desk) -> Mapping[str, str]:
        is_anthropic = self.wire is Wire.MESSAGES
        return {
            "COPILOT_AUTO_UPDATE": "false",
            "COPILOT_MODEL": desk.model,
            "COPILOT_OFFLINE": "true",
            "COPILOT_PROVIDER_API_KEY": "any",
            "COPILOT_PROVIDER_BASE_URL": desk.url if is_anthropic else f"{desk.url}/v1",
            "COPILOT_PROVIDER_TYPE": "anthropic" if is_anthropic else "openai",
            "COPILOT_PROVIDER_WIRE_API": "responses" if self.wire is Wire.RESPONSES else "completions",
        }

    def command(self, desk: Desk, prompt: str) -> Sequence[str]:
        return [str(desk.modules / ".bin/copilot"), "--allow-all-tools", "-p", prompt]

    def shell(self, command: str) -> dict[str, Json]:
        return {"name": "bash", "arguments": {"command": command, "description": "Run a command"}}
