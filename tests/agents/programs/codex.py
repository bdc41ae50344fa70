from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

from drover.json_value import Json
from tests.agents.programs.base import CONTEXT_TOKENS, Agent, Desk

_CONFIG = """\
model = "{model}"
model_provider = "drover"
model_context_window = {context}
{more}
approval_policy = "never"
sandbox_mode = "danger-full-access"
check_for_update_on_startup = false

[analytics]
enabled = false

[model_providers.drover]
name = "{provider}"
base_url = "{url}/v1"
wire_api = "responses"
"""


class Codex(Agent):
    """`provider`: the name of the one that it is set up with; `more`: further lines of its settings."""

    program = "codex"
    provider = "Drover"
    more = ""

    def prepare(self, desk: Desk) -> Mapping[str, str]:
        folder = desk.home / ".codex"
        folder.mkdir()
        (folder / "config.toml").write_text(
            _CONFIG.format(
                model=desk.model,
                url=desk.url,
                context=CONTEXT_TOKENS,
                more=self.more,
                provider=self.provider,
            )
        )
        return {}

    def command(self, desk: Desk, prompt: str) -> Sequence[str]:
        return [str(desk.modules / ".bin/codex"), "exec", "--skip-git-repo-check", prompt]

    def shell(self, command: str) -> dict[str, Json]:
        return {"name": "exec_command", "arguments": {"cmd": command}}


class CodexKnown(Codex):
    """With a model's name that Codex knows: it has custom tools and a tool search, and asks for an effort."""

    program = "codex-known"
    model = "gpt-5.5"


class CodexLite(Codex):
    """With the name of a "lite" model: its tools are an item of the input, one of which runs scripts."""

    program = "codex-lite"
    model = "gpt-6-luna"

    def shell(self, command: str) -> dict[str, Json]:
        script = f"text(await tools.exec_command({json.dumps({'cmd': command})}));"
        return {"name": "exec", "arguments": {"input": script}}


class CodexOpenAI(Codex):
    """As the provider that is built in for OpenAI, which tries a websocket first."""

    program = "codex-openai"
    side_requests = 1

    def prepare(self, desk: Desk) -> Mapping[str, str]:
        super().prepare(desk)
        path = desk.home / ".codex/config.toml"
        beginning = _CONFIG.partition("[model_providers")[0].replace("drover", "openai")
        settings = beginning.format(model=desk.model, context=CONTEXT_TOKENS, more=self.more)
        path.write_text(f'openai_base_url = "{desk.url}/v1"\n{settings}')
        return {"OPENAI_API_KEY": "any", "CODEX_API_KEY": "any"}


class CodexCompacting(Codex):
    """It compacts its conversation after a call with a long result: it asks for a summary as a user does."""

    program = "codex-compacting"
    # More than the first request has, and what remains after the compaction.
    more = "model_auto_compact_token_limit = 16000"


class CodexRemote(CodexCompacting):
    """It has its provider compact the conversation, as with one that it takes for OpenAI's."""

    program = "codex-remote"
    provider = "OpenAI"


class CodexOss(Codex):
    """As `codex --oss`, which looks at Ollama's own routes and pulls the model before it begins."""

    program = "codex-oss"

    def prepare(self, desk: Desk) -> Mapping[str, str]:
        return {**super().prepare(desk), "CODEX_OSS_BASE_URL": f"{desk.url}/v1"}

    def command(self, desk: Desk, prompt: str) -> Sequence[str]:
        return [*super().command(desk, prompt), "--oss", "--local-provider", "ollama", "--model", desk.model]
