from __future__ import annotations

from collections.abc import Mapping, Sequence

from drover.json_value import Json
from tests.agents.programs.base import Agent, Desk


class Copilot(Agent):
    name = "copilot"
    route = "/v1/chat/completions"

    def prepare(self, desk: Desk) -> Mapping[str, str]:
        return {
            "COPILOT_AUTO_UPDATE": "false",
            "COPILOT_MODEL": desk.model,
            "COPILOT_OFFLINE": "true",
            "COPILOT_PROVIDER_API_KEY": "any",
            "COPILOT_PROVIDER_BASE_URL": f"{desk.url}/v1",
        }

    def command(self, desk: Desk, prompt: str) -> Sequence[str]:
        return [str(desk.modules / ".bin/copilot"), "--allow-all-tools", "-p", prompt]

    def shell(self, command: str) -> dict[str, Json]:
        return {"name": "bash", "arguments": {"command": command, "description": "Run a command"}}
