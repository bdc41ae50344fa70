"""The llama.cpp engine: loads the model, prepares prompts, holds slots and streams answers."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from functools import partial
from importlib.metadata import version

from drover.errors import CapabilityMissing, EngineFailed
from drover.v1 import engine_pb2 as pb
from engine_worker.adapters.contents import Adapter
from engine_worker.adapters.gguf_conversion import CONVERTIBLE
from engine_worker.daemon import in_daemon_thread
from engine_worker.engines.base import cache_key
from engine_worker.engines.embedding import embed_texts
from engine_worker.engines.label_scores import LabelTokens, can_decide, score_prompts
from engine_worker.engines.llamacpp.adapters import ProcessAdapters
from engine_worker.engines.llamacpp.answer_modes import ReaderContext
from engine_worker.engines.llamacpp.api import LlamaApi
from engine_worker.engines.llamacpp.chat_plan import ChatPlan
from engine_worker.engines.llamacpp.chunks import PrefillProgress
from engine_worker.engines.llamacpp.format_checks import GrammarChecker, JsonAnswerCheck
from engine_worker.engines.llamacpp.gguf import GgufFile, check_unchanged
from engine_worker.engines.llamacpp.gguf_sampling import recommended_sampling
from engine_worker.engines.llamacpp.label_scores import LabelScorer, score_items
from engine_worker.engines.llamacpp.option_ranges import BOUNDS
from engine_worker.engines.llamacpp.options import LlamacppOptions
from engine_worker.engines.llamacpp.process import LoadedModel, start_server
from engine_worker.engines.llamacpp.prompt import Prompt, Prompts
from engine_worker.engines.llamacpp.request import GenerationLimits
from engine_worker.engines.llamacpp.reranker import (
    PairTokenizer,
    check_classifier,
    gives_logits,
    pair_overhead,
)
from engine_worker.engines.llamacpp.slots import HeldSlot
from engine_worker.engines.llamacpp.template import ChatTemplate, read_template
from engine_worker.engines.llamacpp.text_check import TextAnswerCheck, check_grammars
from engine_worker.engines.reranking import PairModel, one_by_one, rerank_pairs
from engine_worker.engines.slots import Admission
from engine_worker.engines.yes_or_no import YesOrNoReranker, as_chat, asks_yes_or_no
from engine_worker.output.mailbox import Mailbox
from engine_worker.prompt.arrangements import ARRANGEMENTS, Messages, probed

_END_SECONDS = 10.0


class LlamacppEngine:
    """Implements engine_worker.engines.base.Engine. Each llama.cpp slot runs one request at a time."""

    bounds = BOUNDS

    def __init__(self, options: LlamacppOptions) -> None:
        self._options = options
        self._admission = Admission(options.slots + options.queue_limit)
        self._loaded: LoadedModel | None = None
        self._report = pb.LoadReport(running_limit=options.slots)
        self._prompt_tokens_done = 0
        self._reading_lists = asyncio.Lock()
        self._grammars = GrammarChecker()
        self._yes_or_no: YesOrNoReranker | None = None
        self._whole_model_info = ""
        self._adapters = ProcessAdapters(self._on_failure)

    async def start(self) -> None:
        file = await in_daemon_thread(lambda: GgufFile(self._options.model_path), "read the model's header")
        check_classifier(file, self._options.task)
        self._context_length = self._choose_context(file)
        self._file = file
        self._failure: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._loaded = await self._start_llama()
        api = self._loaded.api
        self._template = (
            await read_template(api, file.vocabulary.adds_space)
            if self._options.generates
            else ChatTemplate()
        )
        self._arrangements = await probed(partial(_render, api)) if self._options.generates else ARRANGEMENTS
        self._prompts = self._prompts_over(api)
        self._pair_overhead = await pair_overhead(api) if self._options.task == "rerank" else 0
        self._model = self._describe(file)
        self._model.capabilities.decision = self._options.generates and await can_decide(
            self._score_ids, self._label_tokens()
        )
        await self._prepare_yes_or_no()
        self._report.kv_tokens_total = self._context_length * self._options.slots

    async def _prepare_yes_or_no(self) -> None:
        """A generating model whose template is that of a reranker reranks too."""
        can_rerank = self._options.generates and asks_yes_or_no(self._model.template)
        if can_rerank:
            self._yes_or_no = await YesOrNoReranker.of(
                self.score, as_chat, self, self._context_length, takes_instruction=False
            )
            self._model.capabilities.rerank = True

    async def stop(self) -> None:
        await self._grammars.close()
        await self._free()

    async def load(self) -> None:
        """Raises ValueError for a file that has changed since `start`: GetModel would describe
        another one.
        """
        if self._loaded is None:
            self._loaded = await self._start_llama()
            self._prompts = self._prompts_over(self._loaded.api)

    async def unload(self) -> None:
        await self._free()

    async def _start_llama(self) -> LoadedModel:
        path, file = self._options.model_path, self._file
        await in_daemon_thread(lambda: check_unchanged(path, file), "look at the model's file")
        adapters = self._adapters.begin_start()
        server = await start_server(self._options, self._context_length, file, adapters)
        return LoadedModel(server, self._options, self._on_failure)

    def _prompts_over(self, api: LlamaApi) -> Prompts:
        return Prompts(
            api,
            self._template,
            self._context_length,
            self._file.vocabulary.size,
            self._options.overrides.go_template,
            self._arrangements,
            adds_space=self._file.vocabulary.adds_space,
        )

    def adapters_need_idle(self, adapters: Sequence[Adapter]) -> bool:
        """llama.cpp loads adapters only when it starts."""
        return self._adapters.lacks_any(adapters)

    async def use_adapters(self, adapters: Sequence[Adapter]) -> None:
        await self._adapters.use(adapters, self._restart)

    async def _restart(self) -> None:
        """Raises RuntimeError if llama.cpp cannot load the model or an adapter."""
        await self._free()
        try:
            await self.load()
        except (OSError, ValueError) as error:
            raise RuntimeError(str(error)) from error

    async def _free(self) -> None:
        loaded, self._loaded = self._loaded, None
        if loaded is not None:
            await loaded.end(_END_SECONDS)

    def _on_failure(self, reason: str) -> None:
        if not self._failure.done():
            self._failure.set_result(reason)

    @property
    def _in_memory(self) -> LoadedModel:
        if self._loaded is None:
            raise EngineFailed("the model is not in memory")
        return self._loaded

    async def wait_failed(self) -> str:
        return await asyncio.shield(self._failure)

    def model(self) -> pb.Model:
        return self._model

    async def whole_model_info(self) -> str:
        """Read on the first call only: parsing a vocabulary takes seconds."""
        async with self._reading_lists:
            if not self._whole_model_info:
                path = self._options.model_path
                file = await in_daemon_thread(
                    lambda: GgufFile(path, with_lists=True), "read the model's lists"
                )
                self._whole_model_info = file.model_info_json()
        return self._whole_model_info

    async def own_metrics(self) -> str:
        return "" if self._loaded is None else await self._loaded.api.metrics()

    def load_report(self) -> pb.LoadReport:
        report = self._report
        slots = self._loaded.slots if self._loaded else None
        report.running = slots.running if slots else 0
        report.waiting = self._admission.waiting
        report.waiting_prompt_tokens = slots.waiting_prompt_tokens if slots else 0
        report.kv_tokens_used = slots.kv_tokens if slots else 0
        report.cache_hit_rate = report.cached_tokens_done / max(1, self._prompt_tokens_done)
        return report

    async def generate(self, request: pb.GenerateRequest, mailbox: Mailbox) -> None:
        if not self._options.generates:
            raise CapabilityMissing(f"this worker cannot generate: its --task is {self._options.task}")
        if request.HasField("continuation"):
            raise CapabilityMissing("this engine cannot continue another worker's request")
        arrived_ns = time.perf_counter_ns()
        with self._admission.admit() as place:
            prompt = await self._prompts.prepare(request)
            is_gbnf = self._template.syntax.is_gbnf
            await check_grammars(self._grammars, prompt.answer.grammar, is_gbnf, prompt.text_grammar)
            async with self._in_memory.slots.hold(prompt.ids, cache_key(request)) as slot:
                place.starts()
                queue_ns = time.perf_counter_ns() - arrived_ns
                await self._fill(mailbox, request, prompt, slot, queue_ns)

    async def _fill(
        self, mailbox: Mailbox, request: pb.GenerateRequest, prompt: Prompt, slot: HeldSlot, queue_ns: int
    ) -> None:
        """Stream the answer into the mailbox; chunks that arrive together are handled together. Events of an
        answer in a format pass through `check` before the mailbox gets them.
        """
        check = await _answer_check(prompt)
        arrived, api = mailbox if check is None else Mailbox(), self._in_memory.api
        reader = prompt.answer.reader(self._reader_context(request, prompt, arrived, api))
        limits = GenerationLimits.of(request, len(prompt.ids), self._context_length)
        body = prompt.answer.body(request, prompt.ids, slot.number, limits)
        body["cache_prompt"] = slot.may_share_cache
        body |= self._adapters.applied(request.adapter)
        counted, prefill = 0, PrefillProgress(self._report)
        async with api.stream(prompt.answer.endpoint, body) as arrivals:
            async for chunks in arrivals:
                slot.was_used = True
                for chunk in chunks:
                    prefill.update(chunk)
                    await reader.feed(chunk, queue_ns)
                slot.ids, slot.tokens = reader.all_ids, len(prompt.ids) + reader.produced
                slot.is_idle = reader.is_idle
                self._report.decode_tokens_done += reader.produced - counted
                counted = reader.produced
                if reader.finished:
                    self._count(arrived.done_message, prefill)
                while check is not None and arrived.ready:
                    event = await arrived.take()
                    check.feed(event)
                    mailbox.put(event)
                if reader.finished:
                    return
        raise EngineFailed("llama.cpp's stream ended without a stop chunk")

    def _reader_context(
        self, request: pb.GenerateRequest, prompt: Prompt, mailbox: Mailbox, api: LlamaApi
    ) -> ReaderContext:
        started = pb.Started(
            prompt_ids=prompt.ids,
            truncated_tokens=prompt.truncated_tokens,
            not_honoured=prompt.not_honoured,
        )
        return ReaderContext(request, started, mailbox, api, self._template, self._file.vocabulary)

    async def embed(self, request: pb.EmbedRequest) -> pb.EmbedResponse:
        if self._options.task != "embed":
            raise _missing("embed")
        slots = self._in_memory.slots
        with self._admission.admit() as place:
            return await embed_texts(
                request,
                self.tokenize,
                lambda ids: slots.embed(ids, place.starts),
                self._options.slots,
                self._context_length,
                lambda: place.queue_ns,
            )

    async def score(self, request: pb.ScoreRequest) -> pb.ScoreResponse:
        if not self._options.generates:
            raise CapabilityMissing(f"this worker cannot score labels: its --task is {self._options.task}")
        with self._admission.admit() as place:
            for item in request.items:
                self._prompts.checked(list(item.label_ids))
            prompts = await score_prompts(request, self._score_ids, self._label_tokens())
            loaded = self._in_memory
            # One slot for all items: each finds the prefix of the one before.
            async with loaded.slots.hold(prompts[0].ids, cache_key(request)) as slot:
                place.starts()
                more = self._adapters.applied(request.adapter)
                scorer = LabelScorer(loaded.api, slot, self._file.vocabulary, self._report, more)
                response = await score_items(
                    prompts, scorer, slot.may_share_cache, place.queue_ns, request.return_prompt_ids
                )
            self._prompt_tokens_done += response.prompt_tokens
            self._report.cached_tokens_done += response.cached_tokens
            return response

    async def _score_ids(self, request: pb.GenerateRequest) -> list[int]:
        template = self._template
        if request.HasField("chat") and template.thinking and not template.can_stop_thinking:
            raise CapabilityMissing(
                "this model always thinks before it answers, so its first token is never a label"
            )
        return (await self._prompts.prepare(request)).ids

    def _label_tokens(self) -> LabelTokens:
        api, vocabulary = self._in_memory.api, self._file.vocabulary

        async def encode(text: str) -> list[int]:
            return await api.tokenize_now(text, add_special=False)

        async def decode(ids: list[int]) -> str:
            return self._without_added_space(await api.detokenize_now(ids))

        return LabelTokens(encode, decode, vocabulary.hidden.__contains__)

    async def rerank(self, request: pb.RerankRequest) -> pb.RerankResponse:
        if self._yes_or_no is not None:
            return await self._yes_or_no.rerank(request)
        if self._options.task != "rerank":
            raise _missing("rerank")
        api, slots = self._in_memory.api, self._in_memory.slots
        with self._admission.admit() as place:
            model = PairModel(
                tokenizer=PairTokenizer(api),
                context_length=self._context_length,
                added_tokens=self._pair_overhead,
                scores=one_by_one(lambda pair: slots.rank(pair, place.starts), self._options.slots),
                gives_logits=gives_logits(self._file),
            )
            return await rerank_pairs(request, model, lambda: place.queue_ns)

    async def classify(self, request: pb.ClassifyRequest) -> pb.ClassifyResponse:
        raise _missing("classify")

    async def tokenize(self, text: str, add_special: bool) -> list[int]:
        return await self._in_memory.api.tokenize(text, add_special)

    async def detokenize(self, ids: list[int]) -> str:
        """Raises InvalidRequest for ids of no token."""
        return await self._in_memory.api.detokenize(self._prompts.checked(ids))

    async def render(self, request: pb.GenerateRequest) -> pb.RenderResponse:
        prompt = await self._prompts.prepare(request)
        text = self._without_added_space(await self._in_memory.api.detokenize(prompt.ids))
        return pb.RenderResponse(text=text, ids=prompt.ids, truncated_tokens=prompt.truncated_tokens)

    def _without_added_space(self, text: str) -> str:
        """Text of token ids without the space that the tokenizer put in front of it."""
        return text.removeprefix(" ") if self._file.vocabulary.adds_space else text

    def _choose_context(self, file: GgufFile) -> int:
        trained = file.integer("context_length", 4096)
        return min(self._options.context_length, trained) if self._options.context_length else trained

    def _describe(self, file: GgufFile) -> pb.Model:
        model = file.describe()
        model.names.extend(self._options.names)
        model.context_length = self._context_length
        model.loaded_size_bytes = model.size_bytes + file.kv_bytes(self._context_length * self._options.slots)
        model.template = self._options.chat_template or model.template
        model.defaults.CopyFrom(recommended_sampling(file.values))
        overrides = self._options.overrides
        model.digest = file.digest(overrides.go_template.source if overrides.go_template else model.template)
        model.engine_kind = "llamacpp"
        model.engine_version = version("xllamacpp")
        generates, task = self._options.generates, self._options.task
        takes_adapters = generates and self._options.takes_adapters
        model.capabilities.CopyFrom(
            pb.Capabilities(
                completion=generates,
                tools=self._template.tools,
                thinking=self._template.thinking,
                embedding=task == "embed",
                rerank=task == "rerank",
                classify=task == "classify",
                gguf_adapters=takes_adapters,
                safetensors_adapters=takes_adapters and file.architecture in CONVERTIBLE,
                json_constraint=generates,
                regex_constraint=generates,
                ebnf_constraint=generates,
                logprobs=generates,
                seed=generates,
                logit_bias=generates,
            )
        )
        if (thinking := self._template.thinking_values(model.family)) is not None:
            model.thinking.CopyFrom(thinking)
        model.template_source = "gguf_chat_template" if model.template else "none"
        overrides.describe(model, can_parse=True, adds=True)
        return model

    def _count(self, done: pb.Done | None, prefill: PrefillProgress) -> None:
        if done is not None:
            self._prompt_tokens_done += done.prompt_tokens
            self._report.cached_tokens_done += done.cached_tokens
            prefill.finish(done.prompt_tokens - done.cached_tokens)


def _missing(task: str) -> CapabilityMissing:
    return CapabilityMissing(f"this worker cannot {task}: start one with --task {task} for that")


async def _answer_check(prompt: Prompt) -> JsonAnswerCheck | TextAnswerCheck | None:
    if prompt.is_one_json:
        return JsonAnswerCheck()
    return None if prompt.text_grammar is None else await TextAnswerCheck.of(prompt.text_grammar)


async def _render(api: LlamaApi, messages: Messages) -> str:
    return await api.apply_template(ChatPlan().body(messages))
