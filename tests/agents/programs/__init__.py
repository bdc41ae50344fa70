from tests.agents.programs.base import Agent, Desk
from tests.agents.programs.claude_code import ClaudeCode
from tests.agents.programs.codex import Codex, CodexOss
from tests.agents.programs.copilot import Copilot
from tests.agents.programs.opencode import OpenCode
from tests.agents.programs.pi import Pi
from tests.agents.programs.qwen_code import QwenCode

AGENTS: tuple[Agent, ...] = (ClaudeCode(), Codex(), CodexOss(), OpenCode(), Pi(), QwenCode(), Copilot())

__all__ = ["AGENTS", "Agent", "Desk"]
