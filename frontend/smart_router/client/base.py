"""What the blocking and the asyncio client of SmartRouter share: everything that does not wait."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Generic, TypedDict, TypeVar

import ollama

from frontend.models.virtual_definition import COMPLEX, SIMPLE
from frontend.smart_router.client.conversation import choice_of, write_line

Client = TypeVar("Client", ollama.Client, ollama.AsyncClient)
# The names of SGLang's router, on which code may depend.
_LOCATIONS = {SIMPLE: "Local Ollama", COMPLEX: "Remote SGLang"}


class RouterResult(TypedDict):
    """`location`: the host's name in SGLang's router. `reason`: the judge's, or why there was a fallback."""

    content: str
    model: str
    location: str
    reason: str


class BaseRouter(Generic[Client]):
    """SGLang's SmartRouter without a frontend: simple requests to the local model, others to the remote.

    The judge's answer is constrained, the request is data in its prompt, and it has a time limit. A request
    whose host fails before its first part goes to the other host.
    """

    def __init__(
        self,
        local_host: str = "http://localhost:11434",
        remote_host: str = "http://localhost:30001",
        local_model: str = "llama3.2",
        remote_model: str = "Qwen/Qwen2.5-1.5B-Instruct",
        judge_model: str | None = None,
        judge_host: str | None = None,
        judge_timeout_seconds: float = 10.0,
    ) -> None:
        self.local_model = local_model
        self.remote_model = remote_model
        self.judge_model = judge_model or local_model
        self.judge_host = judge_host or local_host
        self.judge_timeout_seconds = judge_timeout_seconds
        self.local_client: Client = self._connect(local_host)
        self.remote_client: Client = self._connect(remote_host)
        self.judge_client: Client = self._connect(self.judge_host, judge_timeout_seconds)

    def _connect(self, host: str, timeout_seconds: float | None = None) -> Client:
        raise NotImplementedError

    @property
    def _clients(self) -> Sequence[Client]:
        return self.local_client, self.remote_client, self.judge_client

    def _target(self, side: str, verbose: bool) -> tuple[Client, str]:
        """The side's client and model."""
        is_remote = side == COMPLEX
        model = self.remote_model if is_remote else self.local_model
        write_line(verbose, f"-> {_LOCATIONS[side]} | Model: {model}")
        return (self.remote_client if is_remote else self.local_client), model

    def _result(self, side: str, model: str, response: ollama.ChatResponse, reason: str) -> RouterResult:
        content = response.message.content or ""
        return RouterResult(content=content, model=model, location=_LOCATIONS[side], reason=reason)

    def _fallback(self, side: str, error: Exception, verbose: bool) -> str:
        """The reason why the other side gets the request."""
        write_line(verbose, f"{_LOCATIONS[side]} failed: {error}, falling back...")
        return f"Fallback from {_LOCATIONS[side]}"

    def _choice(self, label: str | None, verbose: bool) -> tuple[str, str]:
        """The judge's side, and the reason."""
        write_line(verbose, f"LLM Judge: {label}")
        return choice_of(label)

    def _default_choice(self, error: Exception, verbose: bool) -> tuple[str, str]:
        """The side for a judge that failed, and the reason."""
        write_line(verbose, f"LLM Judge failed: {error}, defaulting to local")
        return SIMPLE, "Judge failed, defaulting to local"
