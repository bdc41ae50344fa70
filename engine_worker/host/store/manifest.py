"""A model's manifest: the list of its files by digest, in the form of Ollama's registry and of OCI images.

Manifests come from outside. All that is in them is bounded and checked before it is used; sizes and digests
are claims until the files are there.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from drover.errors import InvalidRequest

MAX_BYTES = 4 * 1024 * 1024
_MAX_LAYERS = 4096
_TOO_MANY = f"the manifest has more than {_MAX_LAYERS} layers"
_TOO_LONG = f"the manifest is longer than {MAX_BYTES} bytes"
_MAX_LAYER_BYTES = 1 << 44
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_TITLE = "org.opencontainers.image.title"
# No separator, no dot at the beginning: it never leaves the folder that it is put in.
_FILE_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.+-]{0,254}")

DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
CONFIG = "application/vnd.docker.container.image.v1+json"
_OLLAMA = "application/vnd.ollama.image."
MODEL = f"{_OLLAMA}model"
ADAPTER = f"{_OLLAMA}adapter"
TEMPLATE = f"{_OLLAMA}template"
SYSTEM = f"{_OLLAMA}system"
PARAMETERS = f"{_OLLAMA}params"
MESSAGES = f"{_OLLAMA}messages"
LICENSE = f"{_OLLAMA}license"
# A chat template in Jinja, which Ollama's layers have no kind for.
JINJA = "application/vnd.drover.template.jinja"
# A file of a folder in Hugging Face's layout; its name is the layer's title.
FILE = "application/vnd.drover.model.file"


def is_digest(text: str) -> bool:
    return _DIGEST.fullmatch(text) is not None


def is_file_name(text: str) -> bool:
    """True for a plain name without any path."""
    return _FILE_NAME.fullmatch(text) is not None


@dataclass(frozen=True, slots=True)
class Layer:
    """One file. `title`: its name, of layers that need one."""

    media_type: str
    digest: str
    size_bytes: int
    title: str = ""

    def as_json(self) -> dict[str, Any]:
        made: dict[str, Any] = {
            "mediaType": self.media_type,
            "digest": self.digest,
            "size": self.size_bytes,
        }
        return made | ({"annotations": {_TITLE: self.title}} if self.title else {})


@dataclass(frozen=True, slots=True)
class Manifest:
    """`config`: None in manifests that have none."""

    layers: Sequence[Layer]
    config: Layer | None = None

    @classmethod
    def parse(cls, text: bytes) -> Manifest:
        """Raises InvalidRequest for what is no manifest of a model."""
        if len(text) > MAX_BYTES:
            raise InvalidRequest(_TOO_LONG)
        try:
            document = orjson.loads(text)
        except orjson.JSONDecodeError as error:
            raise InvalidRequest(f"the manifest is not JSON: {error}") from None
        if not isinstance(document, dict) or not isinstance(document.get("layers"), list):
            raise InvalidRequest("the manifest has no list of layers")
        if len(document["layers"]) > _MAX_LAYERS:
            raise InvalidRequest(_TOO_MANY)
        config = document.get("config")
        return cls([_layer(each) for each in document["layers"]], _layer(config) if config else None)

    def encode(self) -> bytes:
        document: dict[str, Any] = {"schemaVersion": 2, "mediaType": DOCKER_MANIFEST}
        if self.config is not None:
            document["config"] = self.config.as_json()
        return orjson.dumps(document | {"layers": [layer.as_json() for layer in self.layers]})

    def check(self) -> None:
        """Raises InvalidRequest if `parse` would not read it again."""
        if len(self.layers) > _MAX_LAYERS:
            raise InvalidRequest(_TOO_MANY)
        if len(self.encode()) > MAX_BYTES:
            raise InvalidRequest(_TOO_LONG)

    @property
    def digest(self) -> str:
        """Of the manifest, whatever white space it came with."""
        return f"sha256:{hashlib.sha256(self.encode()).hexdigest()}"

    @property
    def files(self) -> Sequence[Layer]:
        """All that must be in the store, each once."""
        every = [*self.layers, *([self.config] if self.config else [])]
        return list({layer.digest: layer for layer in every}.values())

    @property
    def size_bytes(self) -> int:
        return sum(layer.size_bytes for layer in self.files)

    def of_type(self, media_type: str) -> Sequence[Layer]:
        return [layer for layer in self.layers if layer.media_type == media_type]


def _layer(document: object) -> Layer:
    match document:
        case {"mediaType": str(media_type), "digest": str(digest), "size": int(size), **others}:
            pass
        case _:
            raise InvalidRequest("a layer of the manifest has no mediaType, digest and size")
    if not is_digest(digest):
        raise InvalidRequest(f"the manifest has the digest {digest[:100]!r}, and sha256:… is expected")
    if isinstance(size, bool) or not 0 <= size <= _MAX_LAYER_BYTES:
        raise InvalidRequest(f"the manifest claims {size} bytes for {digest}")
    return Layer(media_type, digest, size, _title(others.get("annotations")))


def _title(annotations: object) -> str:
    title = annotations.get(_TITLE, "") if isinstance(annotations, dict) else ""
    if title and not (isinstance(title, str) and is_file_name(title)):
        raise InvalidRequest(f"the manifest names a file {str(title)[:100]!r}, which is no plain file name")
    return title
