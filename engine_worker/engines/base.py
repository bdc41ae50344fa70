"""The interface of engines. Each engine is a folder of this package.

An engine uses the messages of engine.proto: it gets a GenerateRequest and fills a mailbox. It declares what
it can do in `Model.capabilities`, and raises CapabilityMissing for anything else.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from drover.v1 import engine_pb2 as pb
from engine_worker.adapters.contents import Adapter
from engine_worker.engines.option_ranges import Bounds
from engine_worker.output.mailbox import Mailbox


class Engine(Protocol):
    """One engine with one model. The service applies `bounds` to requests before the engine gets them."""

    @property
    def bounds(self) -> Bounds: ...

    async def start(self) -> None:
        """Load the model, and be ready to generate."""

    async def stop(self) -> None:
        """End everything that runs, and free the model. Safe to call twice."""

    async def wait_failed(self) -> str:
        """Return the reason if the engine fails; the process then ends."""

    def model(self) -> pb.Model:
        """Return the model's description, which does not change after `start`."""

    async def whole_model_info(self) -> str:
        """Return `Model.model_info_json` with the long lists that it leaves out. Reads files."""

    def load_report(self) -> pb.LoadReport:
        """Return exact counts, cheap enough to be called every 10 ms. The service adds `draining`, `loaded`
        and `expires_unix_ns`.
        """

    async def own_metrics(self) -> str:
        """Return the engine's own metrics in Prometheus' text format, under its own names; empty if it has
        none, or while the model is not loaded. Cancelled if it takes too long. Raises EngineFailed.
        """

    async def generate(self, request: pb.GenerateRequest, mailbox: Mailbox) -> None:
        """Put the answer into the mailbox, up to its end.

        Cancelling the task that awaits it frees the engine's slot within two engine steps, in every phase.
        Raises error types of drover/errors.py only, and does not put them into the mailbox.
        """

    async def embed(self, request: pb.EmbedRequest) -> pb.EmbedResponse:
        """Raises CapabilityMissing unless the worker was started for embeddings."""

    async def score(self, request: pb.ScoreRequest) -> pb.ScoreResponse:
        """The service has checked the request's items (label_scores.py).

        Cancelling it frees what it holds, as with `generate`. Raises CapabilityMissing unless the worker
        generates, and for labels that are not one token.
        """

    async def rerank(self, request: pb.RerankRequest) -> pb.RerankResponse:
        """Raises CapabilityMissing for a model that cannot rerank."""

    async def classify(self, request: pb.ClassifyRequest) -> pb.ClassifyResponse:
        """Raises CapabilityMissing for a model that cannot classify."""

    async def tokenize(self, text: str, add_special: bool) -> list[int]: ...

    async def detokenize(self, ids: list[int]) -> str: ...

    async def render(self, request: pb.GenerateRequest) -> pb.RenderResponse:
        """Return the prompt that `generate` would use, truncated in the same way."""

    async def load(self) -> None:
        """Load the model again, unless it is loaded or pinned.

        After an exception it is not loaded; a later call tries again.
        """

    async def unload(self) -> None:
        """Free the model's memory, unless it is pinned. Called while no request uses the engine; until `load`
        only `model` and `load_report` are called.

        Raises EngineFailed if the model stays in memory: it can be used on.
        """

    def adapters_need_idle(self, adapters: Sequence[Adapter]) -> bool:
        """Whether `use_adapters` of these may be called only while no request uses the engine."""

    async def use_adapters(self, adapters: Sequence[Adapter]) -> None:
        """Load these adapters, and no others, for requests that name one. Only of an engine whose
        capabilities have adapters.

        Raises InvalidRequest if one cannot be loaded; then those of the earlier call stay loaded.
        """


def cache_key(request: pb.GenerateRequest | pb.ScoreRequest) -> str:
    """What keeps prefix caches apart, beyond the prompt's tokens: requests with different keys share no
    prefix, since each adapter computes other values, and a salt asks for it.
    """
    return f"{request.adapter}/{request.cache_salt}" if request.adapter else request.cache_salt
