"""Interface of a source of models."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from drover.names import ModelName
from engine_worker.host.store.manifest import Layer, Manifest

OnProgress = Callable[[Layer, int], None]
"""Called with a file and how many bytes of it are there."""


@dataclass(frozen=True, slots=True)
class RemoteFile:
    """A file to download. `headers`: of the request. If the source does not know its SHA-256, the layer's
    digest is empty, and `git_id`, if there is one, is Git's SHA-1 of it. `refused`: in words, what to do if
    the source does not give it to this host; empty: what to do at a registry.
    """

    layer: Layer
    url: str
    headers: Mapping[str, str] = field(default_factory=dict)
    git_id: str = ""
    refused: str = ""


@dataclass(frozen=True, slots=True)
class RemoteModel:
    """What a source has under a name. `manifest`: None if it is made of the files that were downloaded."""

    files: Sequence[RemoteFile]
    manifest: Manifest | None


class Partial(Protocol):
    """What a download writes to. `offset`: how many bytes are there of `size_bytes`."""

    @property
    def offset(self) -> int: ...

    @property
    def size_bytes(self) -> int: ...

    def write(self, data: bytes) -> None:
        """Raises InvalidRequest if there are more bytes than the file has. Blocks."""

    def restart(self) -> None:
        """Begin anew: the source cannot continue."""


class Source(Protocol):
    async def find(self, name: ModelName) -> RemoteModel:
        """Raises NotTransferable if there is no such model, or it cannot be used; SourceFailed if the source
        does not answer.
        """
