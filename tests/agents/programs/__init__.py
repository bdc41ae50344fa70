from tests.agents.programs.base import CONTEXT_TOKENS, MODEL, Agent, Desk, Wire
from tests.agents.programs.claude_code import ClaudeCode
from tests.agents.programs.codex import (
    Codex,
    CodexCompacting,
    CodexKnown,
    CodexLite,
    CodexOpenAI,
    CodexOss,
    CodexRemote,
)
from tests.agents.programs.copilot import Copilot
from tests.agents.programs.opencode import OpenCode
from tests.agents.programs.pi import Pi
from tests.agents.programs.qwen_code import QwenCode

# Over the protocol that each uses unless it is set up otherwise.
AGENTS: tuple[Agent, ...] = (
    ClaudeCode(Wire.MESSAGES),
    Codex(Wire.RESPONSES),
    CodexKnown(Wire.RESPONSES),
    CodexLite(Wire.RESPONSES),
    CodexOss(Wire.RESPONSES),
    OpenCode(),
    Pi(),
    QwenCode(),
    Copilot(),
)
# Those that speak more than one protocol, over the other ones.
OTHER_WIRES: tuple[Agent, ...] = (
    CodexOpenAI(Wire.RESPONSES),
    OpenCode(Wire.MESSAGES),
    OpenCode(Wire.RESPONSES),
    Pi(Wire.MESSAGES),
    Pi(Wire.RESPONSES),
    QwenCode(Wire.MESSAGES),
    Copilot(Wire.MESSAGES),
    Copilot(Wire.RESPONSES),
)

# Those whose conversations become too long.
COMPACTING: tuple[Agent, ...] = (CodexCompacting(Wire.RESPONSES), CodexRemote(Wire.RESPONSES))

MODELS = tuple(dict.fromkeys(agent.model for agent in AGENTS))

__all__ = [
    "AGENTS",
    "COMPACTING",
    "CONTEXT_TOKENS",
    "MODEL",
    "MODELS",
    "OTHER_WIRES",
    "Agent",
    "Desk",
    "Wire",
]
