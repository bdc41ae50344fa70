"""SGLang's Ollama layer over a stub in place of its engine, in SGLang's environment.

`python -m benchmarks.targets.sglang_app PORT STEP_MS TOKENS WAIT`. The stub wakes each request once in each
step and gives the text so far, as SGLang's tokenizer manager does; what a slow server has not taken yet comes
joined. It does not detokenise and keeps no statistics. WAIT is how a request waits for a step: `timeout` as
the tokenizer manager does for a client over HTTP (`asyncio.wait_for`, so that it can look whether the client
is there), or `free`, which is less than the package can do.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import uvicorn
from fastapi import FastAPI, Request
from sglang.srt.entrypoints.ollama.protocol import OllamaChatRequest
from sglang.srt.entrypoints.ollama.serving import OllamaServing

from benchmarks.client.numbered import CHARACTERS, token
from benchmarks.targets.steps import Steps

_WAIT_SECONDS = 4.0  # SGLANG_REQUEST_STATE_WAIT_TIMEOUT


class Tokenizer:
    def apply_chat_template(self, messages: object, **options: object) -> list[int]:
        return [1] * 64


class StubTokenizerManager:
    served_model_name = "sim"
    tokenizer = Tokenizer()

    def __init__(self, steps: Steps, text: str, waits_freely: bool) -> None:
        self._steps = steps
        self._text = text
        self._waits_freely = waits_freely

    async def generate_request(self, request: object, raw_request: object) -> AsyncIterator[dict[str, Any]]:
        event = asyncio.Event()
        self._steps.events.add(event)
        try:
            async for output in self._outputs(event):
                yield output
        finally:
            self._steps.events.discard(event)

    async def _outputs(self, event: asyncio.Event) -> AsyncIterator[dict[str, Any]]:
        begun, tokens, given = self._steps.done, len(self._text) // CHARACTERS, 0
        while given < tokens:
            if self._waits_freely:
                await event.wait()
            else:
                await asyncio.wait_for(event.wait(), timeout=_WAIT_SECONDS)
            event.clear()
            given = min(self._steps.done - begun, tokens)
            finish_reason = {"type": "length"} if given == tokens else None
            meta_info = {"finish_reason": finish_reason, "prompt_tokens": 64, "completion_tokens": given}
            yield {"text": self._text[: given * CHARACTERS], "meta_info": meta_info}


def app(step_ms: float, tokens: int, waits_freely: bool) -> FastAPI:
    text = "".join(map(token, range(tokens)))
    serving: list[OllamaServing] = []

    @asynccontextmanager
    async def running(_: FastAPI) -> AsyncIterator[None]:
        steps = Steps(step_ms / 1000)
        serving.append(OllamaServing(StubTokenizerManager(steps, text, waits_freely)))
        source = asyncio.create_task(steps.run())
        yield
        source.cancel()

    served = FastAPI(lifespan=running)

    @served.post("/api/chat")
    async def chat(request: OllamaChatRequest, raw_request: Request) -> Any:  # noqa: ANN401 - as SGLang's route
        return await serving[0].handle_chat(request, raw_request)

    @served.get("/health")
    async def health() -> None:
        return None

    return served


if __name__ == "__main__":
    _port, _step_ms, _tokens, _wait = sys.argv[1:]
    uvicorn.run(
        app(float(_step_ms), int(_tokens), _wait == "free"),
        host="127.0.0.1",
        port=int(_port),
        loop="uvloop",
        log_level="warning",
    )
