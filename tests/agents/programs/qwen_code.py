from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

from drover.json_value import Json
from tests.agents.programs.base import Agent, Desk


class QwenCode(Agent):
    name = "qwen-code"
    route = "/v1/chat/completions"

    def prepare(self, desk: Desk) -> Mapping[str, str]:
        folder = desk.home / ".qwen"
        folder.mkdir()
        settings = {
            "general": {"disableAutoUpdate": True, "disableUpdateNag": True},
            # Else another agent reads the answer and extracts memories, in requests of its own.
            "memory": {"enableManagedAutoMemory": False, "enableManagedAutoDream": False},
            "privacy": {"usageStatisticsEnabled": False},
            "telemetry": {"enabled": False},
        }
        (folder / "settings.json").write_text(json.dumps(settings))
        return {
            "OPENAI_API_KEY": "any",
            "OPENAI_BASE_URL": f"{desk.url}/v1",
            "OPENAI_MODEL": desk.model,
        }

    def command(self, desk: Desk, prompt: str) -> Sequence[str]:
        return [str(desk.modules / ".bin/qwen"), "--auth-type", "openai", "--yolo", "-p", prompt]

    def shell(self, command: str) -> dict[str, Json]:
        return {"name": "run_shell_command", "arguments": {"command": command, "is_background": False}}
