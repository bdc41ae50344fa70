from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

from drover.json_value import Json
from tests.agents.programs.base import Agent, Desk, Wire


class QwenCode(Agent):
    program = "qwen-code"

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
        name = self._protocol.upper()
        url = desk.url if self.wire is Wire.MESSAGES else f"{desk.url}/v1"
        return {f"{name}_API_KEY": "any", f"{name}_BASE_URL": url, f"{name}_MODEL": desk.model}

    def command(self, desk: Desk, prompt: str) -> Sequence[str]:
        return [str(desk.modules / ".bin/qwen"), "--auth-type", self._protocol, "--yolo", "-p", prompt]

    def shell(self, command: str) -> dict[str, Json]:
        return {"name": "run_shell_command", "arguments": {"command": command, "is_background": False}}

    @property
    def _protocol(self) -> str:
        return "anthropic" if self.wire is Wire.MESSAGES else "openai"
