from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

from drover.json_value import Json
from tests.agents.programs.base import CONTEXT_TOKENS, Agent, Desk, Wire

_PACKAGES = {
    Wire.CHAT: "@ai-sdk/openai-compatible",
    Wire.MESSAGES: "@ai-sdk/anthropic",
    Wire.RESPONSES: "@ai-sdk/openai",
}


class OpenCode(Agent):
    program = "opencode"
    side_requests = 1

    def prepare(self, desk: Desk) -> Mapping[str, str]:
        model = f"drover/{desk.model}"
        limit = {"context": CONTEXT_TOKENS, "output": CONTEXT_TOKENS // 4}
        provider = {
            "npm": _PACKAGES[self.wire],
            "name": "Drover",
            "options": {"baseURL": f"{desk.url}/v1", "apiKey": "any"},
            "models": {desk.model: {"name": desk.model, "tool_call": True, "limit": limit}},
        }
        settings = {
            "autoupdate": False,
            "share": "disabled",
            "model": model,
            "small_model": model,
            "permission": {"bash": "allow"},
            "enabled_providers": ["drover"],
            "provider": {"drover": provider},
        }
        return {
            "OPENCODE_CONFIG_CONTENT": json.dumps(settings),
            "OPENCODE_DISABLE_AUTOUPDATE": "1",
            "OPENCODE_DISABLE_DEFAULT_PLUGINS": "1",
            "OPENCODE_DISABLE_LSP_DOWNLOAD": "1",
            "OPENCODE_DISABLE_MODELS_FETCH": "1",
        }

    def command(self, desk: Desk, prompt: str) -> Sequence[str]:
        return [str(desk.modules / ".bin/opencode"), "run", prompt]

    def shell(self, command: str) -> dict[str, Json]:
        return {"name": "bash", "arguments": {"command": command, "description": "Run a command"}}
