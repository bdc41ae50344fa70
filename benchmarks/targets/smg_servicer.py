"""A stub of the gRPC service that smg calls: numbered tokens as ids, for smg to turn into text.

`python -m benchmarks.targets.smg_servicer PORT STEP_MS TOKENS TOKENIZER` in the environment that has
smg-grpc-proto. As an engine of SGLang does, it sends each request's tokens on a stream of its own.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from typing import Any

import grpc
import uvloop
from smg_grpc_proto import sglang_scheduler_pb2 as pb
from smg_grpc_proto import sglang_scheduler_pb2_grpc as services

from benchmarks.targets.numbered_tokenizer import VOCABULARY
from benchmarks.targets.steps import Steps

_CONTEXT = 1_000_000


class Servicer(services.SglangSchedulerServicer):  # type: ignore[misc]  # generated without types
    def __init__(self, steps: Steps, tokens: int, tokenizer: str) -> None:
        self._steps = steps
        self._tokens = tokens
        self._tokenizer = tokenizer

    async def Generate(self, request: Any, context: Any) -> AsyncIterator[Any]:  # noqa: ANN401 - of smg's proto, without types
        event, begun, given = asyncio.Event(), self._steps.done, 0
        prompt_tokens = len(request.tokenized.input_ids)
        self._steps.events.add(event)
        try:
            while given < self._tokens:
                await event.wait()
                event.clear()
                due = min(self._steps.done - begun, self._tokens)
                ids = [number % VOCABULARY for number in range(given, due)]
                given = due
                yield pb.GenerateResponse(
                    request_id=request.request_id,
                    chunk=pb.GenerateStreamChunk(
                        token_ids=ids, prompt_tokens=prompt_tokens, completion_tokens=given
                    ),
                )
        finally:
            self._steps.events.discard(event)
        complete = pb.GenerateComplete(
            finish_reason="length", prompt_tokens=prompt_tokens, completion_tokens=given
        )
        yield pb.GenerateResponse(request_id=request.request_id, complete=complete)

    async def HealthCheck(self, request: Any, context: Any) -> Any:  # noqa: ANN401 - of smg's proto, without types
        return pb.HealthCheckResponse(healthy=True)

    async def Abort(self, request: Any, context: Any) -> Any:  # noqa: ANN401 - of smg's proto, without types
        return pb.AbortResponse(success=True)

    async def GetModelInfo(self, request: Any, context: Any) -> Any:  # noqa: ANN401 - of smg's proto, without types
        return pb.GetModelInfoResponse(
            model_path=self._tokenizer,
            tokenizer_path=self._tokenizer,
            is_generation=True,
            served_model_name="sim",
            max_context_length=_CONTEXT,
            max_req_input_len=_CONTEXT,
            vocab_size=VOCABULARY + 1,
            model_type="llama",
            architectures=["LlamaForCausalLM"],
        )

    async def GetServerInfo(self, request: Any, context: Any) -> Any:  # noqa: ANN401 - of smg's proto, without types
        return pb.GetServerInfoResponse(server_type="grpc", max_total_num_tokens=_CONTEXT)


async def main(port: str, step_ms: str, tokens: str, tokenizer: str) -> None:
    steps = Steps(float(step_ms) / 1000)
    server = grpc.aio.server()
    services.add_SglangSchedulerServicer_to_server(Servicer(steps, int(tokens), tokenizer), server)
    server.add_insecure_port(f"127.0.0.1:{port}")
    await server.start()
    await steps.run()


if __name__ == "__main__":
    uvloop.run(main(*sys.argv[1:]))
