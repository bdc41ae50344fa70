"""The Engine over SGLang: prompts, sampling and streams put together."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from hashlib import blake2b
from typing import TYPE_CHECKING

from drover.errors import CapabilityMissing, EngineFailed
from drover.v1 import engine_pb2 as pb
from engine_worker.engines.mailbox import Mailbox
from engine_worker.engines.sglang import card, sampling
from engine_worker.engines.sglang.answer import Answers
from engine_worker.engines.sglang.embed import Embedder
from engine_worker.engines.sglang.in_hand import InHand
from engine_worker.engines.sglang.options import SglangOptions
from engine_worker.engines.sglang.output import Answer, Output
from engine_worker.engines.sglang.prompt import Limits, Prompt, Prompts
from engine_worker.engines.sglang.upstream.process import Call, EngineProcess
from engine_worker.engines.slots import Admission

if TYPE_CHECKING:
    from engine_worker.engines.sglang.upstream.model import LoadedModel

_ID_BYTES = 16


class SglangEngine:
    """Implements engine_worker.engines.base.Engine."""

    def __init__(
        self, options: SglangOptions, make_process: Callable[[SglangOptions], EngineProcess] = EngineProcess
    ) -> None:
        self._options = options
        self._make_process = make_process
        self._process: EngineProcess | None = None

    async def start(self) -> None:
        self._process = self._make_process(self._options)
        await self._process.start()
        self._loaded = await asyncio.to_thread(_look_at, self._process)
        self._limits = Limits(self._loaded.context_length, self._loaded.longest_prompt)
        self._prompts = Prompts(
            self._loaded.templates, self._loaded.vocabulary, self._limits, self._loaded.make_turn
        )
        self._answers = Answers(self._loaded.templates, self._loaded.vocabulary, self._loaded.tokenizer)
        self._model = await asyncio.to_thread(card.describe, self._options, self._loaded)
        self._admission = Admission(self._loaded.running_limit + self._options.queue_limit)
        self._in_hand = InHand(self._process)
        self._embedder = Embedder(self._process, self._prompts, self._limits, self._loaded.running_limit)

    async def stop(self) -> None:
        if self._process is not None:
            await self._process.stop()

    async def wait_failed(self) -> str:
        assert self._process is not None
        return await self._process.wait_failed()

    def model(self) -> pb.Model:
        return self._model

    def load_report(self) -> pb.LoadReport:
        return self._in_hand.report()

    async def generate(self, request: pb.GenerateRequest) -> AsyncGenerator[pb.GenerateEvent, None]:
        # An embedding engine dies of it.
        if self._options.embed:
            raise CapabilityMissing("this worker was started for embeddings and cannot generate")
        with self._admission.place():
            with self._in_hand.preparing():
                prompt = await self._prompts.prepare(request)
            call, answer = self._call(request, prompt)
            async with aclosing(self._events(request, call, answer)) as events:
                async for event in events:
                    yield event

    async def _events(
        self, request: pb.GenerateRequest, call: Call, answer: Answer
    ) -> AsyncGenerator[pb.GenerateEvent, None]:
        mailbox = Mailbox()
        output = Output(answer, mailbox)
        output.begin()
        if self._is_exhausted(request, answer):
            output.exhausted()
        if output.finished:
            yield await mailbox.take()
            return
        assert self._process is not None
        async with aclosing(self._process.generate(call)) as chunks:
            async for chunk in chunks:
                self._in_hand.runs(call["rid"])
                output.feed(chunk)
                if mailbox.ready:
                    event = await mailbox.take()
                    self._in_hand.count(event)
                    yield event
                    if event.HasField("done"):
                        return
        raise EngineFailed("SGLang ended the answer without a last word")

    def _is_exhausted(self, request: pb.GenerateRequest, answer: Answer) -> bool:
        """Whether an answer that goes on here has had all its tokens."""
        limit = self._limit(request, len(answer.started.prompt_ids))
        return answer.earlier is not None and len(answer.earlier.produced_ids) >= limit

    def _call(self, request: pb.GenerateRequest, prompt: Prompt) -> tuple[Call, Answer]:
        sampled = sampling.sampling_parameters(
            request.sampling, self._loaded.can_seed, self._loaded.vocabulary.size
        )
        here, beyond = sampling.stop_texts(request.sampling, prompt.rendered.stop)
        produced = list(request.continuation.produced_ids)
        constraint = sampling.constraint_parameters(request, prompt.rendered.constraint)
        if request.HasField("continuation"):
            # SGLang would look for them in the new tokens only.
            here, beyond = [], here + beyond
            sampled.not_honoured += sampling.active_penalties(request.sampling)
            constraint = self._loaded.resumed(constraint, len(produced))
        if prompt.rendered.thinking_refused:
            sampled.not_honoured.append("think")
        limit = self._limit(request, len(prompt.fitted.ids)) - len(produced)
        parameters: dict[str, object] = {
            **sampled.parameters,
            **constraint,
            "max_new_tokens": max(1, limit),
            "skip_special_tokens": prompt.rendered.skip_special_tokens,
            # Texts as they are: Ollama's runner puts no spaces in.
            "spaces_between_special_tokens": False,
        }
        if here:
            parameters["stop"] = here
        call = Call(
            rid=_engine_id(request.request_id),
            sampling_params=parameters,
            require_reasoning=bool(constraint) and prompt.rendered.thinks,
        )
        if prompt.images:
            call["prompt"] = prompt.rendered.text
            call["image_data"] = list(prompt.images)
        else:
            call["input_ids"] = prompt.fitted.ids + produced
        if request.HasField("top_logprobs"):
            call["return_logprob"] = True
            call["top_logprobs_num"] = request.top_logprobs
        if request.priority and self._loaded.has_priorities:
            call["priority"] = request.priority
        if request.cache_salt:
            call["cache_salt"] = request.cache_salt
        return call, self._answers.make(request, prompt, beyond, sampled.not_honoured, bool(constraint))

    def _limit(self, request: pb.GenerateRequest, prompt_tokens: int) -> int:
        return sampling.token_limit(
            request.sampling, prompt_tokens, self._limits.window(request), self._limits.context_length
        )

    async def embed(self, request: pb.EmbedRequest) -> pb.EmbedResponse:
        if not self._options.embed:
            raise CapabilityMissing(
                "this worker generates text; start one with --task embed to embed with this model"
            )
        with self._admission.place():
            return await self._embedder.embed(request)

    async def tokenize(self, text: str, add_special: bool) -> list[int]:
        return await self._prompts.encode(text, add_special)

    async def detokenize(self, ids: list[int]) -> str:
        return await self._prompts.decode(ids)

    async def render(self, request: pb.GenerateRequest) -> pb.RenderResponse:
        fitted = (await self._prompts.prepare(request)).fitted
        text = await self._prompts.decode(fitted.ids)
        return pb.RenderResponse(text=text, ids=fitted.ids, truncated_tokens=fitted.truncated_tokens)

    async def load(self, request: pb.LoadRequest) -> pb.LoadResponse:
        return pb.LoadResponse()

    async def unload(self) -> pb.UnloadResponse:
        return pb.UnloadResponse(loaded=True)


def _look_at(process: EngineProcess) -> LoadedModel:
    from engine_worker.engines.sglang.upstream.model import LoadedModel

    return LoadedModel.of(process)


def _engine_id(request_id: str) -> str:
    """Of one length always: SGLang aborts every id that begins with the one to be aborted (DESIGN decision
    6), and takes some beginnings for probes of its own.
    """
    return blake2b(request_id.encode(), digest_size=_ID_BYTES).hexdigest()
