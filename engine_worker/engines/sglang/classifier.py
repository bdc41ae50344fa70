"""Models with a classifier on top, which rerank or classify. SGLang serves them as it serves embeddings: the
vectors are logits.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from typing import TYPE_CHECKING

from drover.v1 import engine_pb2 as pb
from engine_worker.engines.classification import Classifier, classify_texts
from engine_worker.engines.reranking import Pair, PairModel, Tokenizer, one_by_one, rerank_pairs
from engine_worker.engines.sglang.upstream.classifier import ClassifierHead
from engine_worker.engines.sglang.upstream.process import EngineProcess
from engine_worker.settings import Task

if TYPE_CHECKING:
    from engine_worker.engines.sglang.upstream.model import LoadedModel


def check_task(task: Task, head: ClassifierHead | None) -> None:
    """Raises ValueError, with what to do, for a model that cannot be used for the task."""
    if task not in ("rerank", "classify"):
        return
    if head is None:
        raise ValueError(
            f"--task {task}: this model has no classifier; take one whose architecture ends with "
            "ForSequenceClassification. Rerankers that answer yes or no (Qwen3-Reranker) take no --task, "
            "but their template as --chat-template"
        )
    labels = len(head.labels)
    if task == "rerank" and labels != 1:
        raise ValueError(f"--task rerank: this model has {labels} classes; start it with --task classify")
    if task == "classify" and labels < 2:
        raise ValueError("--task classify: this model has one class; start it with --task rerank")


class ClassifierModel:
    """`tokenizer`: the engine, whose texts it cuts."""

    def __init__(self, process: EngineProcess, loaded: LoadedModel, tokenizer: Tokenizer) -> None:
        assert loaded.classifier is not None
        self._process = process
        self._tokenizer = tokenizer
        self._head = loaded.classifier
        self._context_length = loaded.context_length
        self._vocabulary_size = loaded.vocabulary.size
        self._at_once = loaded.running_limit

    async def rerank(self, request: pb.RerankRequest) -> pb.RerankResponse:
        model = PairModel(
            tokenizer=self._tokenizer,
            context_length=self._context_length,
            added_tokens=self._head.pair_tokens,
            scores=one_by_one(lambda pair: self._score(pair, request.trace_context), self._at_once),
            gives_logits=self._head.gives_logits,
        )
        return await rerank_pairs(request, model)

    async def classify(self, request: pb.ClassifyRequest) -> pb.ClassifyResponse:
        model = Classifier(
            tokenize=self._tokenizer.tokenize,
            logits=lambda ids: self._process.embed(secrets.token_hex(16), ids, request.trace_context),
            labels=self._head.labels,
            context_length=self._context_length,
            vocabulary_size=self._vocabulary_size,
            at_once=self._at_once,
        )
        return await classify_texts(request, model)

    async def _score(self, pair: Pair, trace: Mapping[str, str]) -> float:
        return await self._process.score_pair(secrets.token_hex(16), pair.query, pair.document, trace)
