"""The Engine over SGLang: prompts, requests, output and embeddings."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from drover.errors import CapabilityMissing, EngineFailed
from drover.v1 import engine_pb2 as pb
from engine_worker.adapters.contents import TEMPORARY, Adapter
from engine_worker.engines.embedding import embed_texts
from engine_worker.engines.sglang import model_info
from engine_worker.engines.sglang.adapter_files import check_adapted, write_completed
from engine_worker.engines.sglang.call_grammars import ForcedCall, forced_call
from engine_worker.engines.sglang.classifier import ClassifierModel, check_task
from engine_worker.engines.sglang.in_flight import InFlight
from engine_worker.engines.sglang.label_scores import Scorer
from engine_worker.engines.sglang.option_ranges import BOUNDS
from engine_worker.engines.sglang.options import SglangOptions
from engine_worker.engines.sglang.output import Output, OutputContext
from engine_worker.engines.sglang.output_builder import OutputBuilder
from engine_worker.engines.sglang.prompt import Limits, Prompt, Prompts
from engine_worker.engines.sglang.request import RequestBuilder
from engine_worker.engines.sglang.upstream.calls import SglangRequest
from engine_worker.engines.sglang.upstream.own_metrics import metrics_text
from engine_worker.engines.sglang.upstream.process import EngineProcess
from engine_worker.engines.slots import Admission
from engine_worker.engines.yes_or_no import Ask, YesOrNoReranker, as_text, asks_yes_or_no
from engine_worker.output.mailbox import Mailbox
from engine_worker.schemas.constraint import constraint_of
from engine_worker.schemas.ebnf_writer import ebnf_text

if TYPE_CHECKING:
    from engine_worker.engines.sglang.upstream.model import LoadedModel


class SglangEngine:
    """Implements engine_worker.engines.base.Engine."""

    bounds = BOUNDS

    def __init__(
        self, options: SglangOptions, make_process: Callable[[SglangOptions], EngineProcess] = EngineProcess
    ) -> None:
        self._options = options
        self._make_process = make_process
        self._process: EngineProcess | None = None
        self._owned = ExitStack()
        self._classifier: ClassifierModel | None = None
        self._yes_or_no: YesOrNoReranker | None = None
        self._adapters: dict[str, TemporaryDirectory[str]] = {}
        """Those that SGLang has loaded, by digest, with the folder of their files as it reads them."""
        self._is_asleep = False

    async def start(self) -> None:
        self._process = self._make_process(self._options)
        await self._process.start()
        self._loaded = await asyncio.to_thread(_inspect, self._process)
        check_task(self._options.task, self._loaded.classifier)
        self._limits = Limits(self._loaded.context_length, self._loaded.longest_prompt)
        self._prompts = Prompts(
            self._loaded.templates,
            self._loaded.vocabulary,
            self._limits,
            self._loaded.make_turn,
            self._options.overrides.go_template,
        )
        self._owned.callback(self._prompts.close)
        self._requests = RequestBuilder(self._loaded, self._limits)
        self._outputs = OutputBuilder(self._loaded.templates, self._loaded.vocabulary, self._loaded.tokenizer)
        self._model = await asyncio.to_thread(model_info.describe, self._options, self._loaded)
        self._admission = Admission(self._loaded.running_limit + self._options.queue_limit)
        self._in_flight = InFlight(self._process)
        self._scorer = Scorer(self._prompts, self._loaded.vocabulary, self._loaded.has_priorities)
        self._model.capabilities.decision = self._options.generates and await self._scorer.can_decide()
        self._embedder = Embedder(self._process, self._prompts, self._limits, self._loaded.running_limit)
        await self._prepare_reranking(self._process)

    async def _prepare_reranking(self, process: EngineProcess) -> None:
        """By a classifier, or by the template of a model that generates."""
        if self._loaded.classifier is not None:
            self._classifier = ClassifierModel(process, self._loaded, self)
        templates = self._loaded.templates
        if self._options.generates and asks_yes_or_no(templates.source):
            self._yes_or_no = await YesOrNoReranker.of(
                self.score, _asked(self._loaded), self, self._limits.context_length, takes_instruction=True
            )
            self._model.capabilities.rerank = True

    async def stop(self) -> None:
        self._owned.close()
        if self._process is not None:
            await self._process.stop()
        for folder in self._adapters.values():
            folder.cleanup()

    async def wait_failed(self) -> str:
        assert self._process is not None
        return await self._process.wait_failed()

    def model(self) -> pb.Model:
        return self._model

    async def whole_model_info(self) -> str:
        """The same: a config.json has no long lists to leave out."""
        return self.model().model_info_json

    async def own_metrics(self) -> str:
        return await asyncio.to_thread(metrics_text)

    def load_report(self) -> pb.LoadReport:
        return self._in_flight.report()

    async def generate(self, request: pb.GenerateRequest, mailbox: Mailbox) -> None:
        # A request to generate would end an embedding engine's scheduler.
        if not self._options.generates:
            raise CapabilityMissing(f"this worker cannot generate: its --task is {self._options.task}")
        with self._admission.admit():
            with self._in_flight.preparing():
                constraint = await constraint_of(request, ebnf_text)
                prompt = await self._prompts.prepare(request)
                calls = await self._requests.call_grammar(request, prompt, constraint)
                forced = await self._forced_call(prompt) if calls is None else None
            engine_request = self._requests.build(request, prompt, constraint, calls, forced)
            context = self._outputs.build(request, prompt, engine_request)
            await self._run(request, engine_request.sglang, Output(context, mailbox), context)

    async def _forced_call(self, prompt: Prompt) -> ForcedCall | None:
        if prompt.rendered.constraint is None:
            return None
        return await asyncio.to_thread(
            forced_call, *prompt.rendered.constraint, takes_grammars=self._loaded.takes_grammars
        )

    async def _run(
        self, request: pb.GenerateRequest, sglang: SglangRequest, output: Output, context: OutputContext
    ) -> None:
        output.begin()
        if self._is_exhausted(request, context):
            output.exhausted()
        if output.finished:
            return
        assert self._process is not None
        with self._in_flight.generating(sglang["rid"], output):
            await self._process.generate(sglang, output.feed)
        if not output.finished:
            raise EngineFailed("SGLang's stream ended without a finish reason")

    def _is_exhausted(self, request: pb.GenerateRequest, context: OutputContext) -> bool:
        """True if the earlier attempts of a resumed answer produced all its tokens."""
        limit = self._requests.token_limit(request, len(context.started.prompt_ids))
        return context.earlier is not None and len(context.earlier.produced_ids) >= limit

    async def embed(self, request: pb.EmbedRequest) -> pb.EmbedResponse:
        if self._options.task != "embed":
            raise _missing("embed")
        with self._admission.admit():
            return await self._embedder.embed(request)

    async def score(self, request: pb.ScoreRequest) -> pb.ScoreResponse:
        # A request to prefill a prompt would end an embedding engine's scheduler.
        if not self._options.generates:
            raise CapabilityMissing(f"this worker cannot score labels: its --task is {self._options.task}")
        assert self._process is not None
        with self._admission.admit():
            with self._in_flight.preparing():
                prompts = await self._scorer.prompts(request)
            response = await self._scorer.score(request, prompts, self._process)
        self._in_flight.scored(response)
        return response

    async def rerank(self, request: pb.RerankRequest) -> pb.RerankResponse:
        if self._yes_or_no is not None:
            return await self._yes_or_no.rerank(request)
        if self._options.task != "rerank" or self._classifier is None:
            raise _missing("rerank")
        with self._admission.admit():
            return await self._classifier.rerank(request)

    async def classify(self, request: pb.ClassifyRequest) -> pb.ClassifyResponse:
        if self._options.task != "classify" or self._classifier is None:
            raise _missing("classify")
        with self._admission.admit():
            return await self._classifier.classify(request)

    async def tokenize(self, text: str, add_special: bool) -> list[int]:
        return await self._prompts.encode(text, add_special)

    async def detokenize(self, ids: list[int]) -> str:
        return await self._prompts.decode(ids)

    async def render(self, request: pb.GenerateRequest) -> pb.RenderResponse:
        fitted = (await self._prompts.prepare(request)).fitted
        text = await self._prompts.decode(fitted.ids)
        return pb.RenderResponse(text=text, ids=fitted.ids, truncated_tokens=fitted.truncated_tokens)

    def adapters_need_idle(self, adapters: Sequence[Adapter]) -> bool:
        return False

    async def use_adapters(self, adapters: Sequence[Adapter]) -> None:
        """Load new ones before others are unloaded, which waits for the requests that use them."""
        assert self._process is not None
        wanted = {adapter.digest: adapter for adapter in adapters}
        for digest in wanted.keys() - self._adapters.keys():
            self._adapters[digest] = await self._load_adapter(self._process, wanted[digest])
        for digest in self._adapters.keys() - wanted.keys():
            # Known until it is unloaded, so that the next change tries again.
            await self._process.unload_adapter(digest)
            self._adapters.pop(digest).cleanup()

    async def _load_adapter(self, process: EngineProcess, adapter: Adapter) -> TemporaryDirectory[str]:
        check_adapted(adapter)
        weights = {tensor.name: tensor.shape for tensor in self._model.tensors}
        folder = TemporaryDirectory(prefix=TEMPORARY, dir=adapter.folder.parent)
        try:
            await asyncio.to_thread(write_completed, adapter, weights, Path(folder.name))
            await process.load_adapter(adapter.digest, folder.name)
        except BaseException:
            folder.cleanup()
            raise
        return folder

    async def load(self) -> None:
        """Only a model that sleeps has left its memory: others stay as long as the process."""
        if self._is_asleep:
            assert self._process is not None
            await self._process.resume_memory()
            self._is_asleep = False

    async def unload(self) -> None:
        """Others than those that sleep are pinned, or a host ends their process."""
        if self._options.sleeps:
            assert self._process is not None
            await self._process.release_memory()
            self._is_asleep = True


def _asked(loaded: LoadedModel) -> Ask:
    """Applies the template as SGLang does: query and document are two messages of a user."""

    def ask(query: str, document: str, instruction: str) -> pb.ScoreItem:
        messages = [{"role": "user", "content": query}, {"role": "user", "content": document}]
        more = {"instruct": instruction} if instruction else {}
        prompt = loaded.tokenizer.apply_chat_template(
            messages, chat_template=loaded.templates.source, tokenize=False, **more
        )
        return as_text(str(prompt))

    return ask


def _missing(task: str) -> CapabilityMissing:
    return CapabilityMissing(f"this worker cannot {task}: start one with --task {task} for that")


def _inspect(process: EngineProcess) -> LoadedModel:
    from engine_worker.engines.sglang.upstream.model import LoadedModel

    return LoadedModel.of(process)


class Embedder:
    """Embeds texts with an engine that was started for embeddings, and cannot generate.

    At most `at_once` texts of one request run at the same time; SGLang batches them with all others.
    """

    def __init__(self, process: EngineProcess, prompts: Prompts, limits: Limits, at_once: int) -> None:
        self._process = process
        self._prompts = prompts
        self._limits = limits
        self._at_once = at_once

    async def embed(self, request: pb.EmbedRequest) -> pb.EmbedResponse:
        return await embed_texts(
            request,
            self._prompts.encode,
            lambda ids: self._process.embed(secrets.token_hex(16), ids, request.trace_context),
            self._at_once,
            self._limits.context_length,
        )
