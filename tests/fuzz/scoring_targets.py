"""Fuzz targets for rerank, score and classify; see targets.py."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from drover.v1 import engine_pb2 as pb
from frontend.api.core.go_json import dumps, loads
from frontend.api.scoring.classify import ClassifyBody, classes
from frontend.api.scoring.rerank import RerankBody, results, tei_results
from frontend.api.scoring.score import ScoreBody, scores
from frontend.models.model import CatalogModel

ForEveryModel = Callable[[Callable[[CatalogModel], object]], None]


def targets(for_every_model: ForEveryModel) -> Mapping[str, Callable[[bytes], None]]:
    def rerank(body: bytes) -> None:
        parsed = RerankBody.read(loads(body))
        response = pb.RerankResponse(scores=[0.5] * len(parsed.contents))

        def work(model: CatalogModel) -> None:
            parsed.to_proto(model).SerializeToString()
            dumps(results(parsed, model, response, with_documents=True))

        dumps(tei_results(parsed, response))
        for_every_model(work)

    def score(body: bytes) -> None:
        parsed = ScoreBody.read(loads(body))
        if parsed.has_labels:
            label(parsed)
            return
        for_every_model(lambda model: parsed.to_proto(model).SerializeToString())
        dumps(scores(parsed.model, pb.RerankResponse(scores=[0.5] * len(parsed.second))))

    def label(parsed: ScoreBody) -> None:
        request = parsed.label_request()
        assert request.prompt_bytes >= 0
        for_every_model(lambda model: request.to_proto(model).SerializeToString())
        found = [pb.ScoreResult(logprobs=[-1.0, -2.0])] * len(parsed.items)
        dumps(request.scores(parsed.model, pb.ScoreResponse(results=found)))

    def classify(body: bytes) -> None:
        parsed = ClassifyBody.read(loads(body))
        for_every_model(lambda model: parsed.to_proto(model).SerializeToString())
        found = [pb.Classification(probabilities=[0.25, 0.75])] * len(parsed.input)
        dumps(classes(parsed.model, pb.ClassifyResponse(classifications=found, labels=["a", "b"])))

    return {
        **dict.fromkeys(("/rerank", "/v1/rerank", "/v2/rerank"), rerank),
        **dict.fromkeys(("/score", "/v1/score"), score),
        **dict.fromkeys(("/classify", "/v1/classify"), classify),
    }
