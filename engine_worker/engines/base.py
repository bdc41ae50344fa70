"""The seam between the gRPC service and an engine. A variant is a folder beside this file.

An engine speaks the proto's messages: it is given a GenerateRequest and fills a mailbox. What it cannot
do it says in `Model.capabilities`, and raises CapabilityMissing when asked all the same.
"""

from __future__ import annotations

from typing import Protocol

from drover.v1 import engine_pb2 as pb
from engine_worker.engines.bounds import Bounds
from engine_worker.output.mailbox import Mailbox


class Engine(Protocol):
    """`bounds`: the numbers that it survives; the service applies them before a request comes here."""

    @property
    def bounds(self) -> Bounds: ...

    async def start(self) -> None:
        """Loads the model. When it returns, the engine can generate."""

    async def stop(self) -> None:
        """Ends everything that runs and frees the model. Safe to call twice."""

    async def wait_failed(self) -> str:
        """Returns, with the reason, only if the engine breaks down; the process then ends."""

    def model(self) -> pb.Model:
        """Constant once started."""

    async def whole_model_info(self) -> str:
        """`Model.model_info_json` with the lists that it leaves out. Reads files: not for every request."""

    def load_report(self) -> pb.LoadReport:
        """Exact counts of this moment; cheap enough for every 10 ms. The service fills in `draining`,
        `loaded` and `expires_unix_ns`.
        """

    async def generate(self, request: pb.GenerateRequest, mailbox: Mailbox) -> None:
        """Puts the answer into the mailbox, up to its end.

        Cancelling the task that awaits it frees the engine's slot within two engine steps, in every phase.
        Raises error types of drover/errors.py only; the mailbox does not get them.
        """

    async def embed(self, request: pb.EmbedRequest) -> pb.EmbedResponse:
        """Raises CapabilityMissing unless the worker was started for embeddings."""

    async def tokenize(self, text: str, add_special: bool) -> list[int]: ...

    async def detokenize(self, ids: list[int]) -> str: ...

    async def render(self, request: pb.GenerateRequest) -> pb.RenderResponse:
        """The prompt that `generate` would use, truncated as it would be."""

    async def load(self) -> None:
        """Brings the model back into memory. Nothing happens where it is there, or pinned.

        Any exception means that it is not there; a later call tries again.
        """

    async def unload(self) -> None:
        """Frees the model's memory, where it is not pinned. Called while nothing uses the engine, which until
        `load` only has to say what it knows of its model and its load.
        """
