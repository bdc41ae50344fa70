from __future__ import annotations

from collections.abc import Mapping, Sequence

from drover.json_value import Json
from tests.agents.programs.base import CONTEXT_TOKENS, Agent, Desk


class ClaudeCode(Agent):
    program = "claude-code"
    # The second one is not streamed.
    most_tries = 2

    def prepare(self, desk: Desk) -> Mapping[str, str]:
        return {
            "ANTHROPIC_BASE_URL": desk.url,
            "ANTHROPIC_AUTH_TOKEN": "any",
            "ANTHROPIC_MODEL": desk.model,
            "ANTHROPIC_SMALL_FAST_MODEL": desk.model,
            "CLAUDE_CODE_MAX_CONTEXT_TOKENS": str(CONTEXT_TOKENS),
            "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
            "DISABLE_AUTOUPDATER": "1",
            "DISABLE_ERROR_REPORTING": "1",
            "DISABLE_TELEMETRY": "1",
        }

    def command(self, desk: Desk, prompt: str) -> Sequence[str]:
        return [str(desk.modules / ".bin/claude"), "-p", prompt, "--allowedTools", "Bash,Read"]

    def shell(self, command: str) -> dict[str, Json]:
        return {"name": "Bash", "arguments": {"command": command, "description": "Run a command"}}
