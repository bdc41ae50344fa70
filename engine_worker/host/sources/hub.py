"""A Hugging Face hub: one GGUF file of a repository, or its set of safetensors files."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING
from urllib.parse import quote

import orjson

from drover.errors import SourceFailed
from drover.names import ModelName
from engine_worker.host.sources.base import RemoteFile, RemoteModel
from engine_worker.host.sources.http import SourceClient
from engine_worker.host.sources.hub_files import chosen_files
from engine_worker.host.store.manifest import Layer

if TYPE_CHECKING:
    from huggingface_hub.hf_api import ModelInfo, RepoSibling

HUBS = frozenset({"hf.co", "huggingface.co"})
# Python's objects for a list take some ten times its length.
_MAX_LIST_BYTES = 4 * 1024 * 1024
_MAX_LISTED = 16_384
_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class Hub:
    """Implements Source. `addresses`: URLs of hubs that are reached elsewhere; without one, the library's
    (HF_ENDPOINT). A token is read as the library does (HF_TOKEN, or what `hf auth login` has kept).
    """

    client: SourceClient
    addresses: Mapping[str, str] = field(default_factory=dict)

    async def find(self, name: ModelName) -> RemoteModel:
        from huggingface_hub import constants, hf_hub_url

        repository = f"{name.namespace}/{name.model}"
        endpoint = self.addresses.get(name.host.casefold(), constants.ENDPOINT).rstrip("/")
        headers = _headers()
        # What HfApi.model_info asks for; it would take an answer of any length.
        url = f"{endpoint}/api/models/{quote(repository)}?blobs=true"
        missing = _missing(name)
        text = await self.client.get(url, headers, _MAX_LIST_BYTES, missing, missing)
        info = await asyncio.to_thread(_info, text)
        files = []
        siblings = {file.rfilename: file for file in info.siblings or ()}
        for media_type, path, title in await asyncio.to_thread(chosen_files, name, list(siblings)):
            at = hf_hub_url(repository, path, revision=info.sha or "main", endpoint=endpoint)
            files.append(replace(_remote(siblings[path], media_type, title, at, headers), refused=missing))
        return RemoteModel(files, manifest=None)


def _headers() -> Mapping[str, str]:
    from huggingface_hub import get_token

    token = get_token()
    return {"Authorization": f"Bearer {token}"} if token else {}


def _info(text: bytes) -> ModelInfo:
    from huggingface_hub.hf_api import ModelInfo

    try:
        document = orjson.loads(text)
        if len(document.get("siblings") or ()) > _MAX_LISTED:
            raise ValueError(f"it has more than {_MAX_LISTED} files")
        info = ModelInfo(**document)  # type: ignore[no-untyped-call]  # the library's
        if not all(isinstance(file.rfilename, str) for file in info.siblings or ()):
            raise TypeError("a file's name is no text")
        if not isinstance(info.sha, str | None):
            raise TypeError("its revision is no text")
        return info
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise SourceFailed(f"the hub's list of files cannot be read: {error}") from error


def _remote(
    file: RepoSibling, media_type: str, title: str, url: str, headers: Mapping[str, str]
) -> RemoteFile:
    """Large files come with their SHA-256, others with the id that Git gives them."""
    digest = str(file.lfs.sha256) if file.lfs else ""
    size = file.lfs.size if file.lfs else file.size
    if not isinstance(size, int) or size < 0 or (digest and not _SHA256.fullmatch(digest)):
        raise SourceFailed(f"the hub names no size and digest that can be used for {file.rfilename[:200]!r}")
    layer = Layer(media_type, f"sha256:{digest}" if digest else "", size, title)
    return RemoteFile(layer, url, headers, str(file.blob_id or "") if not digest else "")


def _missing(name: ModelName) -> str:
    return (
        f"pull model manifest: {name.host} has no model {name.namespace}/{name.model}, or shows it only to "
        "users who have accepted its terms: then start the host with their token in HF_TOKEN"
    )
