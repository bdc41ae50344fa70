from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

from drover.json_value import Json
from tests.agents.programs.base import CONTEXT_TOKENS, Agent, Desk, Wire

_APIS = {
    Wire.CHAT: "openai-completions",
    Wire.MESSAGES: "anthropic-messages",
    Wire.RESPONSES: "openai-responses",
}


class Pi(Agent):
    program = "pi"

    def prepare(self, desk: Desk) -> Mapping[str, str]:
        folder = desk.home / ".pi/agent"
        folder.mkdir(parents=True)
        provider = {
            "baseUrl": desk.url if self.wire is Wire.MESSAGES else f"{desk.url}/v1",
            "api": _APIS[self.wire],
            "apiKey": "any",
            "models": [{"id": desk.model, "contextWindow": CONTEXT_TOKENS}],
        }
        (folder / "models.json").write_text(json.dumps({"providers": {"drover": provider}}))
        return {"PI_OFFLINE": "1", "PI_TELEMETRY": "0"}

    def command(self, desk: Desk, prompt: str) -> Sequence[str]:
        return [str(desk.modules / ".bin/pi"), "--provider", "drover", "--model", desk.model, "-p", prompt]

    def shell(self, command: str) -> dict[str, Json]:
        return {"name": "bash", "arguments": {"command": command}}
