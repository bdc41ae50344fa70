"""The Engine without a model: its text comes from a hash, its speed from a formula."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from drover.errors import CapabilityMissing, ContextExceeded
from drover.v1 import engine_pb2 as pb
from engine_worker.adapters.contents import Adapter
from engine_worker.engines.base import cache_key
from engine_worker.engines.classification import Classifier, classify_texts
from engine_worker.engines.label_scores import LabelTokens, can_decide, item_request, score_prompts
from engine_worker.engines.overrides import ModelOverrides
from engine_worker.engines.reranking import Pair, PairModel, rerank_pairs
from engine_worker.engines.simulator.batch import Job
from engine_worker.engines.simulator.config import SimulatorConfig
from engine_worker.engines.simulator.label_scores import label_logprobs
from engine_worker.engines.simulator.model_info import describe_model
from engine_worker.engines.simulator.option_ranges import BOUNDS
from engine_worker.engines.simulator.output import interrupted_output
from engine_worker.engines.simulator.prompt import Prompts
from engine_worker.engines.simulator.request import RequestBuilder
from engine_worker.engines.simulator.scheduler import Scheduler
from engine_worker.engines.simulator.script import Scripts
from engine_worker.engines.simulator.text import (
    CLASSES,
    COMPONENTS,
    Book,
    class_logits,
    relevance,
    unit,
    vector,
)
from engine_worker.engines.simulator.tokens import Tokenizer
from engine_worker.output.mailbox import Mailbox
from engine_worker.settings import Task

_NO_OVERRIDES = ModelOverrides()
_TOKEN_IDS = 2**32


class SimulatorEngine:
    """Implements engine_worker.engines.base.Engine.

    `names` are the model's names, the main one first. `task` is what it is for. `overrides` are the
    operator's changes to the model's description. With `takes_adapters` each adapter gives other texts.
    """

    bounds = BOUNDS

    def __init__(
        self,
        names: Sequence[str],
        config: SimulatorConfig,
        task: Task = "generate",
        overrides: ModelOverrides = _NO_OVERRIDES,
        takes_adapters: bool = False,
    ) -> None:
        self._overrides = overrides
        self._takes_adapters = takes_adapters
        self._names = list(names)
        self._config = config
        self._task: Task = task
        self._tokenizer = Tokenizer(config.token_bytes)
        self._prompts = Prompts(self._tokenizer, config.context_length, overrides.go_template)
        self._scheduler = Scheduler(config)
        self._book = Book(self._tokenizer)
        self._use_scripts(Scripts())

    async def start(self) -> None:
        """Raises ScriptError, a ValueError, for a script file that cannot be played."""
        if self._config.script_path is not None:
            self._use_scripts(Scripts.read(self._config.script_path, self._tokenizer))
        self._model.capabilities.decision = self._task == "generate" and await can_decide(
            self._score_ids, self._label_tokens()
        )
        await self.load()
        self._scheduler.start()

    async def stop(self) -> None:
        await self._scheduler.stop()

    async def wait_failed(self) -> str:
        return await self._scheduler.wait_broken()

    def model(self) -> pb.Model:
        return self._model

    async def whole_model_info(self) -> str:
        return self._model.model_info_json

    async def own_metrics(self) -> str:
        """None: the load report has all there is."""
        return ""

    def load_report(self) -> pb.LoadReport:
        return self._scheduler.report()

    async def generate(self, request: pb.GenerateRequest, mailbox: Mailbox) -> None:
        if self._task != "generate":
            raise CapabilityMissing(f"this worker was started with --task {self._task} and cannot generate")
        job = await self._requests.job(request, self._scheduler.chain(cache_key(request)), mailbox)
        with self._scheduler.holding(job):
            await job.ended

    async def embed(self, request: pb.EmbedRequest) -> pb.EmbedResponse:
        if self._task != "embed":
            raise CapabilityMissing("this worker generates and cannot make embeddings")
        whole = [self._tokenizer.encode(text) for text in request.texts]
        texts = [self._fitted(text, request) for text in whole]
        ids = [token_id for text in texts for token_id in text]
        truncated_tokens = sum(map(len, whole)) - len(ids)
        response = pb.EmbedResponse(prompt_tokens=len(ids), truncated_tokens=truncated_tokens)
        if ids:
            response.timings.CopyFrom(await self._prefill(ids))
        for text in texts:
            response.embeddings.add(values=self._embedding(text, request))
        return response

    async def score(self, request: pb.ScoreRequest) -> pb.ScoreResponse:
        """One job for each item, one after the other, so that each finds the prefix of the ones before."""
        if self._task != "generate":
            raise CapabilityMissing(f"this worker cannot score labels: its --task is {self._task}")
        prompts = await score_prompts(request, self._score_ids, self._label_tokens())
        response = pb.ScoreResponse()
        # Each adapter gives other numbers.
        seed = self._config.seed + int(request.adapter[:8] or "0", 16)
        for item, prompt in zip(request.items, prompts, strict=True):
            script = self._scripts.find_scores(self._prompts.question(item_request(request, item)))
            mailbox, chain = Mailbox(), self._scheduler.chain(cache_key(request))
            output = interrupted_output(script.interruptions, mailbox) if script else None
            done = await self._prefilled(Job(prompt.ids, len(prompt.ids), mailbox, output, chain))
            scripted = script.scores if script else None
            logprobs = label_logprobs(prompt.ids, prompt.label_ids, scripted, seed)
            response.results.add(
                logprobs=logprobs,
                label_ids=prompt.label_ids,
                prompt_tokens=len(prompt.ids),
                prompt_ids=prompt.ids if request.return_prompt_ids else (),
            )
            response.prompt_tokens += len(prompt.ids)
            response.cached_tokens += done.cached_tokens
            response.timings.queue_ns += done.timings.queue_ns
            response.timings.prefill_ns += done.timings.prefill_ns
        return response

    async def _score_ids(self, request: pb.GenerateRequest) -> list[int]:
        return (await self._prompts.fit(request)).ids

    def _label_tokens(self) -> LabelTokens:
        async def encode(text: str) -> list[int]:
            return self._tokenizer.encode(text)

        async def decode(ids: list[int]) -> str:
            return self._tokenizer.decode(ids)

        return LabelTokens(encode, decode, lambda token: False)

    async def rerank(self, request: pb.RerankRequest) -> pb.RerankResponse:
        if self._task != "rerank":
            raise CapabilityMissing("this worker was not started with --task rerank")
        response = await rerank_pairs(
            request,
            PairModel(
                tokenizer=self,
                context_length=self._config.context_length,
                added_tokens=0,
                scores=self._relevance,
                gives_logits=True,
            ),
        )
        ids = self._tokenizer.encode("".join([*request.queries, *request.documents]))
        await self._take_time(ids[: response.prompt_tokens], response.timings)
        return response

    async def classify(self, request: pb.ClassifyRequest) -> pb.ClassifyResponse:
        if self._task != "classify":
            raise CapabilityMissing("this worker was not started with --task classify")
        prefilled: list[int] = []

        async def logits(ids: list[int]) -> list[float]:
            prefilled.extend(ids)
            return [*class_logits(self._tokenizer.decode(ids), self._config.seed)]

        response = await classify_texts(
            request,
            Classifier(
                tokenize=self.tokenize,
                logits=logits,
                labels=CLASSES,
                context_length=self._config.context_length,
                vocabulary_size=_TOKEN_IDS,
                at_once=self._config.running_limit,
            ),
        )
        await self._take_time(prefilled, response.timings)
        return response

    async def tokenize(self, text: str, add_special: bool) -> list[int]:
        """Ignores `add_special`: there are no special tokens."""
        return self._tokenizer.encode(text)

    async def detokenize(self, ids: list[int]) -> str:
        """Raises InvalidRequest for ids of no token."""
        return self._tokenizer.decode(ids)

    async def render(self, request: pb.GenerateRequest) -> pb.RenderResponse:
        fitted = await self._prompts.fit(request)
        return pb.RenderResponse(
            text=self._tokenizer.decode(fitted.ids), ids=fitted.ids, truncated_tokens=fitted.truncated_tokens
        )

    async def load(self) -> None:
        """Take as long as the configuration says."""
        await asyncio.sleep(self._config.load_ms / 1000)

    async def unload(self) -> None:
        self._scheduler.forget_prefixes()

    def adapters_need_idle(self, adapters: Sequence[Adapter]) -> bool:
        return False

    async def use_adapters(self, adapters: Sequence[Adapter]) -> None:
        """Nothing to load: a request's adapter counts by its digest."""

    def _use_scripts(self, scripts: Scripts) -> None:
        self._scripts = scripts
        self._requests = RequestBuilder(self._config, self._prompts, self._book, scripts)
        self._model = describe_model(self._names, self._config, scripts, self._task)
        if self._task == "generate" and self._takes_adapters:
            self._model.capabilities.gguf_adapters = self._model.capabilities.safetensors_adapters = True
        self._overrides.describe(self._model, can_parse=True)

    def _fitted(self, ids: list[int], request: pb.EmbedRequest) -> list[int]:
        most = self._config.context_length
        if request.HasField("num_ctx"):
            most = min(max(1, request.num_ctx), most)
        if len(ids) > most and request.HasField("truncate") and not request.truncate:
            raise ContextExceeded("the input length exceeds the context length")
        return ids[:most]

    async def _relevance(self, pairs: Sequence[Pair]) -> list[float]:
        return [relevance(pair.query, pair.document, self._config.seed) for pair in pairs]

    async def _take_time(self, ids: list[int], timings: pb.Timings) -> None:
        if ids:
            timings.CopyFrom(await self._prefill(ids))

    async def _prefill(self, ids: list[int]) -> pb.Timings:
        """Takes the time that a prompt of these tokens takes, in the same queue and batch as any other."""
        kv_tokens = min(len(ids), self._config.context_length)
        chain = self._scheduler.chain("")
        job = Job(ids, kv_tokens, Mailbox(), output=None, chain=chain, keeps_prefix=False)
        return (await self._prefilled(job)).timings

    async def _prefilled(self, job: Job) -> pb.Done:
        with self._scheduler.holding(job):
            await job.ended
        return (await job.mailbox.take()).done

    def _embedding(self, ids: list[int], request: pb.EmbedRequest) -> list[float]:
        values = vector(self._tokenizer.decode(ids), self._config.seed)[: request.dimensions or COMPONENTS]
        normalize = request.normalize if request.HasField("normalize") else True
        return unit(values) if normalize else values
