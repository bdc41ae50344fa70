"""The Engine over llama.cpp: slots, prompts and streams put together."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator
from contextlib import aclosing, asynccontextmanager
from importlib.metadata import version

from drover.errors import CapabilityMissing, EngineFailed
from drover.v1 import engine_pb2 as pb
from engine_worker.chat.window import Fitted, Window
from engine_worker.engines.llamacpp.api import LlamaApi
from engine_worker.engines.llamacpp.body import completion_body
from engine_worker.engines.llamacpp.embed import embed_texts
from engine_worker.engines.llamacpp.gguf_file import GgufFile
from engine_worker.engines.llamacpp.options import LlamacppOptions
from engine_worker.engines.llamacpp.output import Output
from engine_worker.engines.llamacpp.prefixes import SlotPrefixes
from engine_worker.engines.llamacpp.prompt import Prompts
from engine_worker.engines.llamacpp.server import LlamaServer, start_server
from engine_worker.engines.mailbox import Mailbox
from engine_worker.engines.slots import Slots

_SLOT_FREE_DEADLINE_SECONDS = 30.0


class LlamacppEngine:
    """Implements engine_worker.engines.base.Engine. One llama.cpp slot runs one request at a time."""

    def __init__(self, options: LlamacppOptions) -> None:
        self._options = options
        self._slots = Slots(options.slots, options.queue_limit)
        self._prefixes = SlotPrefixes(options.slots)
        self._releases: set[asyncio.Task[None]] = set()
        self._failure: asyncio.Future[str] | None = None
        self._server: LlamaServer | None = None
        self._kv_used = [0] * options.slots
        self._report = pb.LoadReport(running_limit=options.slots, loaded=True)
        self._prompt_tokens_done = 0

    async def start(self) -> None:
        self._failure = asyncio.get_running_loop().create_future()
        file = await asyncio.to_thread(GgufFile, self._options.model_path)
        self._context_length = self._choose_context(file)
        self._server = await asyncio.to_thread(
            start_server, self._options, self._context_length, file.pooling_known
        )
        self._api = LlamaApi(self._server)
        self._prompts = Prompts(self._api, self._context_length)
        self._model = self._describe(file)
        self._report.kv_tokens_total = self._context_length * self._options.slots

    async def stop(self) -> None:
        for task in list(self._releases):
            task.cancel()
        if self._server is not None:
            await self._api.close()
            # Dropping the handle joins llama.cpp's threads, which takes as long as its current step.
            server, self._server = self._server, None
            await asyncio.to_thread(lambda: setattr(server, "handle", None))

    async def wait_failed(self) -> str:
        assert self._failure is not None, "start() comes first"
        return await asyncio.shield(self._failure)

    def model(self) -> pb.Model:
        return self._model

    def load_report(self) -> pb.LoadReport:
        report = self._report
        report.running = self._slots.running
        report.waiting = self._slots.waiting
        report.waiting_prompt_tokens = self._slots.waiting_prompt_tokens
        report.kv_tokens_used = sum(self._kv_used)
        report.cache_hit_rate = report.cached_tokens_done / max(1, self._prompt_tokens_done)
        return report

    async def generate(self, request: pb.GenerateRequest) -> AsyncGenerator[pb.GenerateEvent, None]:
        if self._options.embed:
            raise CapabilityMissing("this worker was started for embeddings and cannot generate")
        if request.HasField("continuation"):
            raise CapabilityMissing("this engine cannot continue another worker's request")
        arrived_ns = time.perf_counter_ns()
        window = Window.of(request, self._context_length)
        prompt = await self._prompts.prepare(request)
        async with self._slot(prompt.ids) as slot:
            queue_ns = time.perf_counter_ns() - arrived_ns
            body = completion_body(request, prompt.ids, slot, window, self._context_length - len(prompt.ids))
            mailbox = Mailbox()
            output = self._output(request, prompt, mailbox)
            async with self._api.complete(body) as arrivals, aclosing(arrivals):
                async for chunks in arrivals:
                    for chunk in chunks:
                        await output.feed(chunk, queue_ns)
                    self._kv_used[slot] = len(output.all_ids)
                    if mailbox.ready:
                        event = await mailbox.take()
                        self._count(event)
                        yield event
            self._prefixes.remember(slot, output.all_ids)
            if not output.finished:
                raise EngineFailed("llama.cpp ended the answer without a last word")

    async def embed(self, request: pb.EmbedRequest) -> pb.EmbedResponse:
        if not self._options.embed:
            raise CapabilityMissing(
                "this worker generates text; start one with --task embed to embed with this model"
            )
        return await embed_texts(request, self._api, self._slots, self._context_length)

    async def tokenize(self, text: str, add_special: bool) -> list[int]:
        return await self._api.tokenize(text, add_special)

    async def detokenize(self, ids: list[int]) -> str:
        return await self._api.detokenize(ids)

    async def render(self, request: pb.GenerateRequest) -> pb.RenderResponse:
        prompt = await self._prompts.prepare(request)
        text = await self._api.detokenize(prompt.ids)
        return pb.RenderResponse(text=text, ids=prompt.ids, truncated_tokens=prompt.truncated_tokens)

    async def load(self, request: pb.LoadRequest) -> pb.LoadResponse:
        return pb.LoadResponse()

    async def unload(self) -> pb.UnloadResponse:
        return pb.UnloadResponse(loaded=True)

    def _choose_context(self, file: GgufFile) -> int:
        trained = file.integer("context_length", 4096)
        return min(self._options.context_length, trained) if self._options.context_length else trained

    def _describe(self, file: GgufFile) -> pb.Model:
        model = file.describe()
        model.names.extend(self._options.names)
        model.context_length = self._context_length
        model.loaded_size_bytes = model.size_bytes + file.kv_bytes(self._context_length * self._options.slots)
        model.template = self._options.chat_template or model.template
        model.engine_kind = "llamacpp"
        model.engine_version = version("xllamacpp")
        model.pinned = True
        generates = not self._options.embed
        model.capabilities.CopyFrom(
            pb.Capabilities(
                completion=generates,
                embedding=self._options.embed,
                json_constraint=generates,
                logprobs=generates,
                seed=generates,
                logit_bias=generates,
            )
        )
        return model

    def _output(self, request: pb.GenerateRequest, prompt: Fitted, mailbox: Mailbox) -> Output:
        started = pb.Started(prompt_ids=prompt.ids, truncated_tokens=prompt.truncated_tokens)
        top = request.top_logprobs if request.HasField("top_logprobs") else None
        return Output(mailbox, started, top, lambda text: self._api.tokenize(text, add_special=False))

    def _count(self, event: pb.GenerateEvent) -> None:
        for delta in event.deltas:
            self._report.decode_tokens_done += len(delta.token_ids)
        if event.HasField("done"):
            self._prompt_tokens_done += event.done.prompt_tokens
            self._report.cached_tokens_done += event.done.cached_tokens
            self._report.prefill_tokens_done += event.done.prompt_tokens - event.done.cached_tokens

    @asynccontextmanager
    async def _slot(self, ids: list[int]) -> AsyncGenerator[int, None]:
        """Holds a slot; it counts as running until llama.cpp itself has let go of it."""
        slot = await self._slots.take(lambda free: self._prefixes.choose(free, ids), len(ids))
        completed = False
        try:
            yield slot
            completed = True
        finally:
            if completed or self._server is None:
                self._free(slot)
            else:
                task = asyncio.create_task(self._free_when_idle(slot), name=f"free slot {slot}")
                self._releases.add(task)
                task.add_done_callback(self._releases.discard)

    def _free(self, slot: int) -> None:
        self._kv_used[slot] = 0
        self._slots.give_back(slot)

    async def _free_when_idle(self, slot: int) -> None:
        """After a cancel: llama.cpp notices the closed connection at the end of its step."""
        try:
            async with asyncio.timeout(_SLOT_FREE_DEADLINE_SECONDS):
                while await self._is_processing(slot):
                    continue
        except TimeoutError:
            self._fail(f"llama.cpp did not let go of slot {slot} within {_SLOT_FREE_DEADLINE_SECONDS:.0f} s")
        except EngineFailed as error:
            self._fail(error.message)
        else:
            self._free(slot)

    async def _is_processing(self, slot: int) -> bool:
        """Waits for the end of the current step, since only then llama.cpp answers."""
        return any(state["id"] == slot and state["is_processing"] for state in await self._api.slots())

    def _fail(self, reason: str) -> None:
        if self._failure is not None and not self._failure.done():
            self._failure.set_result(reason)
