"""The Engine over llama.cpp: slots, prompts and streams put together."""

from __future__ import annotations

import asyncio
import time
from functools import partial
from importlib.metadata import version

from drover.errors import CapabilityMissing, EngineFailed
from drover.v1 import engine_pb2 as pb
from engine_worker.daemon import in_daemon_thread
from engine_worker.engines.embedding import embed_texts
from engine_worker.engines.llamacpp.api import LlamaApi
from engine_worker.engines.llamacpp.bounds import BOUNDS
from engine_worker.engines.llamacpp.calls import call_of, grammar_of, is_one_json, reader_of
from engine_worker.engines.llamacpp.gguf import GgufFile, check_unchanged
from engine_worker.engines.llamacpp.gguf_sampling import recommended
from engine_worker.engines.llamacpp.grammar_check import GrammarCheck
from engine_worker.engines.llamacpp.in_memory import InMemory
from engine_worker.engines.llamacpp.kept_format import KeptFormat
from engine_worker.engines.llamacpp.options import LlamacppOptions
from engine_worker.engines.llamacpp.prefill import PrefillCount
from engine_worker.engines.llamacpp.prompt import Prompt, Prompts
from engine_worker.engines.llamacpp.server import start_server
from engine_worker.engines.llamacpp.slots import HeldSlot
from engine_worker.engines.llamacpp.template import ChatTemplate, read_template
from engine_worker.engines.llamacpp.turn import Turn
from engine_worker.engines.slots import Admission
from engine_worker.output.mailbox import Mailbox
from engine_worker.prompt.arrangements import ARRANGEMENTS, Messages, probed

_END_SECONDS = 10.0


class LlamacppEngine:
    """Implements engine_worker.engines.base.Engine. One llama.cpp slot runs one request at a time."""

    bounds = BOUNDS

    def __init__(self, options: LlamacppOptions) -> None:
        self._options = options
        self._admission = Admission(options.slots + options.queue_limit)
        self._memory: InMemory | None = None
        self._report = pb.LoadReport(running_limit=options.slots)
        self._prompt_tokens_done = 0
        self._reading_lists = asyncio.Lock()
        self._grammars = GrammarCheck()
        self._whole_model_info = ""

    async def start(self) -> None:
        file = await in_daemon_thread(lambda: GgufFile(self._options.model_path), "read the model's header")
        self._context_length = self._choose_context(file)
        self._file = file
        self._failure: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._memory = await self._start_llama()
        api = self._memory.api
        self._template = (
            ChatTemplate() if self._options.embed else await read_template(api, file.vocabulary.adds_space)
        )
        self._arrangements = ARRANGEMENTS if self._options.embed else await probed(partial(_rendered, api))
        self._prompts = self._prompts_over(api)
        self._model = self._describe(file)
        self._report.kv_tokens_total = self._context_length * self._options.slots

    async def stop(self) -> None:
        await self._grammars.close()
        await self._free()

    async def load(self) -> None:
        """Fails for a file that is another one now: what GetModel says would not be true of it."""
        if self._memory is None:
            self._memory = await self._start_llama()
            self._prompts = self._prompts_over(self._memory.api)

    async def unload(self) -> None:
        await self._free()

    async def _start_llama(self) -> InMemory:
        path, file = self._options.model_path, self._file
        await in_daemon_thread(lambda: check_unchanged(path, file), "look at the model's file")
        server = await start_server(self._options, self._context_length, file)
        return InMemory(server, self._options, self._broke_down)

    def _prompts_over(self, api: LlamaApi) -> Prompts:
        return Prompts(
            api,
            self._template,
            self._context_length,
            self._file.vocabulary.size,
            self._options.words.go_template,
            self._arrangements,
            adds_space=self._file.vocabulary.adds_space,
        )

    async def _free(self) -> None:
        memory, self._memory = self._memory, None
        if memory is not None:
            await memory.end(_END_SECONDS)

    def _broke_down(self, reason: str) -> None:
        if not self._failure.done():
            self._failure.set_result(reason)

    @property
    def _here(self) -> InMemory:
        if self._memory is None:
            raise EngineFailed("the model is not in memory")
        return self._memory

    async def wait_failed(self) -> str:
        return await asyncio.shield(self._failure)

    def model(self) -> pb.Model:
        return self._model

    async def whole_model_info(self) -> str:
        """Read once: parsing a vocabulary takes seconds."""
        async with self._reading_lists:
            if not self._whole_model_info:
                path = self._options.model_path
                file = await in_daemon_thread(
                    lambda: GgufFile(path, with_lists=True), "read the model's lists"
                )
                self._whole_model_info = file.model_info_json()
        return self._whole_model_info

    def load_report(self) -> pb.LoadReport:
        report = self._report
        slots = self._memory.slots if self._memory else None
        report.running = slots.running if slots else 0
        report.waiting = self._admission.waiting
        report.waiting_prompt_tokens = slots.waiting_prompt_tokens if slots else 0
        report.kv_tokens_used = slots.kv_tokens if slots else 0
        report.cache_hit_rate = report.cached_tokens_done / max(1, self._prompt_tokens_done)
        return report

    async def generate(self, request: pb.GenerateRequest, mailbox: Mailbox) -> None:
        if self._options.embed:
            raise CapabilityMissing("this worker was started for embeddings and cannot generate")
        if request.HasField("continuation"):
            raise CapabilityMissing("this engine cannot continue another worker's request")
        arrived_ns = time.perf_counter_ns()
        with self._admission.place() as place:
            prompt = await self._prompts.prepare(request)
            if (grammar := grammar_of(prompt)) and not self._template.syntax.is_gbnf:
                await self._grammars.check(grammar)
            async with self._here.slots.hold(prompt.ids) as slot:
                place.starts()
                queue_ns = time.perf_counter_ns() - arrived_ns
                await self._fill(mailbox, request, prompt, slot, queue_ns)

    async def _fill(
        self, mailbox: Mailbox, request: pb.GenerateRequest, prompt: Prompt, slot: HeldSlot, queue_ns: int
    ) -> None:
        """What has come together goes on together. A format's answer is looked at before it does."""
        kept = KeptFormat() if is_one_json(request, prompt) else None
        arrived, api = mailbox if kept is None else Mailbox(), self._here.api
        output = reader_of(request, prompt, arrived, api, self._template, self._file.vocabulary)
        route, body = call_of(request, prompt, slot.number, self._context_length)
        counted, prefill = 0, PrefillCount(self._report)
        async with api.stream(route, body) as arrivals:
            async for chunks in arrivals:
                slot.was_used = True
                for chunk in chunks:
                    prefill.saw(chunk)
                    await output.feed(chunk, queue_ns)
                slot.ids, slot.tokens = output.all_ids, len(prompt.ids) + output.produced
                slot.is_idle = output.is_idle
                self._report.decode_tokens_done += output.produced - counted
                counted = output.produced
                if output.finished:
                    self._count(arrived.done_message, prefill)
                while kept is not None and arrived.ready:
                    event = await arrived.take()
                    kept.saw(event)
                    mailbox.put(event)
                if output.finished:
                    return
        raise EngineFailed("llama.cpp ended the answer without a last word")

    async def embed(self, request: pb.EmbedRequest) -> pb.EmbedResponse:
        if not self._options.embed:
            raise CapabilityMissing(
                "this worker generates text; start one with --task embed to embed with this model"
            )
        slots = self._here.slots
        with self._admission.place() as place:
            return await embed_texts(
                request,
                self.tokenize,
                lambda ids: slots.embed(ids, place.starts),
                self._options.slots,
                self._context_length,
                lambda: place.queue_ns,
            )

    async def tokenize(self, text: str, add_special: bool) -> list[int]:
        return await self._here.api.tokenize(text, add_special)

    async def detokenize(self, ids: list[int]) -> str:
        """Raises InvalidRequest for ids of no token."""
        return await self._here.api.detokenize(self._prompts.checked(ids))

    async def render(self, request: pb.GenerateRequest) -> pb.RenderResponse:
        prompt = await self._prompts.prepare(request)
        text = await self._here.api.detokenize(prompt.ids)
        if self._file.vocabulary.adds_space:
            # The tokenizer's, not the template's.
            text = text.removeprefix(" ")
        return pb.RenderResponse(text=text, ids=prompt.ids, truncated_tokens=prompt.truncated_tokens)

    def _choose_context(self, file: GgufFile) -> int:
        trained = file.integer("context_length", 4096)
        return min(self._options.context_length, trained) if self._options.context_length else trained

    def _describe(self, file: GgufFile) -> pb.Model:
        model = file.describe()
        model.names.extend(self._options.names)
        model.context_length = self._context_length
        model.loaded_size_bytes = model.size_bytes + file.kv_bytes(self._context_length * self._options.slots)
        model.template = self._options.chat_template or model.template
        model.defaults.CopyFrom(recommended(file.values))
        words = self._options.words
        model.digest = file.digest(words.go_template.source if words.go_template else model.template)
        model.engine_kind = "llamacpp"
        model.engine_version = version("xllamacpp")
        generates = not self._options.embed
        model.capabilities.CopyFrom(
            pb.Capabilities(
                completion=generates,
                tools=self._template.tools,
                thinking=self._template.thinking,
                embedding=self._options.embed,
                json_constraint=generates,
                logprobs=generates,
                seed=generates,
                logit_bias=generates,
            )
        )
        words.describe(model, can_parse=True, adds=True)
        return model

    def _count(self, done: pb.Done | None, prefill: PrefillCount) -> None:
        if done is not None:
            self._prompt_tokens_done += done.prompt_tokens
            self._report.cached_tokens_done += done.cached_tokens
            prefill.ends(done.prompt_tokens - done.cached_tokens)


async def _rendered(api: LlamaApi, messages: Messages) -> str:
    return await api.apply_template(Turn().body(messages))
