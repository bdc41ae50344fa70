from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

from drover.json_value import Json
from tests.agents.programs.base import Agent, Desk


class Pi(Agent):
    name = "pi"
    route = "/v1/chat/completions"

    def prepare(self, desk: Desk) -> Mapping[str, str]:
        folder = desk.home / ".pi/agent"
        folder.mkdir(parents=True)
        provider = {
            "baseUrl": f"{desk.url}/v1",
            "api": "openai-completions",
            "apiKey": "any",
            "models": [{"id": desk.model}],
        }
        (folder / "models.json").write_text(json.dumps({"providers": {"drover": provider}}))
        return {"PI_OFFLINE": "1", "PI_TELEMETRY": "0"}

    def command(self, desk: Desk, prompt: str) -> Sequence[str]:
        return [str(desk.modules / ".bin/pi"), "--provider", "drover", "--model", desk.model, "-p", prompt]

    def shell(self, command: str) -> dict[str, Json]:
        return {"name": "bash", "arguments": {"command": command}}
