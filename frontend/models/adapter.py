"""The adapter (LoRA) of a preset: blobs that are sent to the workers of its base."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from drover.adapters import CONFIG_FILE, GGUF_FILE, SAFETENSORS_FILES, WEIGHTS_FILE, adapter_digest
from drover.errors import InvalidRequest

BLOB_EXPIRED = "adapters: a blob of the adapter has expired; upload it again"
_SHA256 = "sha256:"
_PICKLED = (".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle")
# What a folder of PEFT's has besides: texts, and copies of the base's tokenizer.
_IGNORED = (".json", ".md", ".txt", ".jinja", ".model", ".license")
_WHAT_IT_IS = (
    f"an adapter is one GGUF file (NAME.gguf), or the files {CONFIG_FILE} and {WEIGHTS_FILE} that PEFT writes"
)


@dataclass(frozen=True, slots=True)
class AdapterFile:
    """`digest`: of the blob, as `sha256:` and 64 hex digits."""

    name: str
    digest: str
    size_bytes: int

    @property
    def sha256(self) -> str:
        return self.digest.removeprefix(_SHA256)


# No slots: cached_property needs a __dict__.
@dataclass(frozen=True)
class Adapter:
    """Its files, in order of name. `is_operators`: workers have it from the operator's folder, and there are
    no blobs of it.
    """

    files: Sequence[AdapterFile]
    is_operators: bool = False

    @cached_property
    def digest(self) -> str:
        """Digest of the files, by which workers and requests name the adapter."""
        return adapter_digest((file.name, file.sha256) for file in self.files)

    @property
    def blob_digests(self) -> Sequence[str]:
        return () if self.is_operators else [file.digest for file in self.files]

    @property
    def is_gguf(self) -> bool:
        return self.files[0].name == GGUF_FILE


def named_files(sent: Mapping[str, str]) -> Mapping[str, str]:
    """The files of an adapter by the names that workers use, with their digests, of those that a client
    names. Raises InvalidRequest, in Ollama's words for more than one adapter.
    """
    files: dict[str, str] = {}
    for path, digest in sent.items():
        name = path.rsplit("/", 1)[-1]
        if name.lower().endswith(_PICKLED):
            raise InvalidRequest(
                f"adapters: {name} has pickled weights, which are code and are never loaded; {_WHAT_IT_IS}"
            )
        kept = GGUF_FILE if name.lower().endswith(".gguf") else name
        if kept in files:
            raise InvalidRequest("only one adapter is currently supported")
        if kept in (GGUF_FILE, *SAFETENSORS_FILES):
            files[kept] = digest.replace("-", ":", 1).lower()
        elif not name.lower().endswith(_IGNORED):
            raise InvalidRequest(f"adapters: {name} is no file of an adapter; {_WHAT_IT_IS}")
    if GGUF_FILE in files and len(files) > 1:
        raise InvalidRequest("only one adapter is currently supported")
    missing = [name for name in SAFETENSORS_FILES if name not in files]
    if GGUF_FILE not in files and missing:
        raise InvalidRequest(f"adapters: there is no {' and no '.join(missing)}; {_WHAT_IT_IS}")
    return files
