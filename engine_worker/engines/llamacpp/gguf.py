"""Reads a GGUF file's metadata: the model's description, sizes and digest."""

from __future__ import annotations

import hashlib
import math
import re
from pathlib import Path

import numpy
import orjson
from gguf import GGUFReader, GGUFValueType, LlamaFileType, ReaderTensor

from drover.v1 import engine_pb2 as pb
from engine_worker.engines.llamacpp.gguf_reader import QuickGgufReader
from engine_worker.engines.llamacpp.vocabulary import Vocabulary
from engine_worker.engines.numbers import human_count

_HIDDEN = {"general.name", "tokenizer.chat_template"}
_BLOCK = re.compile(r"blk\.(\d+)\.")
_BYTES_PER_KV_VALUE = 2  # llama.cpp keeps keys and values as f16

Scalar = str | int | float | bool
Value = Scalar | list[Scalar] | None


class GgufFile:
    """Metadata of one file. Reading blocks for a second or more (it parses the vocabulary): use a thread.
    `with_lists`: keep values that are arrays.

    Raises ValueError for a file that is not GGUF, OSError for one that cannot be read.
    """

    def __init__(self, path: Path, with_lists: bool = False) -> None:
        reader = _open(path)
        self.values = {
            name: _value(reader, name, with_lists) for name in reader.fields if not name.startswith("GGUF.")
        }
        self.parameter_count = sum(int(tensor.n_elements) for tensor in reader.tensors)
        self.architecture = str(self.values.get("general.architecture", "unknown"))
        self.template = str(self.values.get("tokenizer.chat_template", ""))
        self.vocabulary = Vocabulary.of(reader)
        status = path.stat()
        self.size_bytes = status.st_size
        self.tensors = [_tensor(tensor) for tensor in sorted(reader.tensors, key=_tensor_order)]
        self.modified_unix_ns = status.st_mtime_ns
        self._header_digest = _header_digest(path, status.st_size, reader.data_offset)
        self._name = path.name

    def integer(self, key: str, default: int = 0) -> int:
        """A value of the model's architecture, for example `context_length`."""
        value = self.values.get(f"{self.architecture}.{key}")
        return int(value) if isinstance(value, int | float) and math.isfinite(value) else default

    @property
    def quantization(self) -> str:
        file_type = self.values.get("general.file_type")
        if not isinstance(file_type, int) or file_type not in list(LlamaFileType):
            return "unknown"
        return LlamaFileType(file_type).name.removeprefix("MOSTLY_").removeprefix("ALL_")

    @property
    def pooling_known(self) -> bool:
        return f"{self.architecture}.pooling_type" in self.values

    @property
    def has_sliding_windows(self) -> bool:
        return self.integer("attention.sliding_window") > 0

    def kv_bytes(self, tokens: int) -> int:
        heads = max(1, self.integer("attention.head_count", 1))
        head_length = self.integer("attention.key_length", self.integer("embedding_length") // heads)
        kv_heads = self.integer("attention.head_count_kv", heads)
        return tokens * self.integer("block_count") * kv_heads * head_length * 2 * _BYTES_PER_KV_VALUE

    def digest(self, template: str = "") -> str:
        """64 hex digits that depend on header, name and template; the weights are not read."""
        whole = f"{self._header_digest}\n{self._name}\n{template or self.template}"
        return hashlib.sha256(whole.encode()).hexdigest()

    def describe(self) -> pb.Model:
        """A Model with the fields that come from the file."""
        return pb.Model(
            digest=self.digest(),
            size_bytes=self.size_bytes,
            trained_context_length=self.integer("context_length"),
            embedding_length=self.integer("embedding_length"),
            parameter_count=self.parameter_count,
            parameter_size=human_count(self.parameter_count),
            quantization=self.quantization,
            format="gguf",
            family=self.architecture,
            families=[self.architecture],
            template=self.template,
            modified_unix_ns=self.modified_unix_ns,
            model_info_json=self.model_info_json(),
            tensors=self.tensors,
        )

    def model_info_json(self) -> str:
        """The metadata as a JSON object with sorted keys."""
        info = {name: value for name, value in self.values.items() if name not in _HIDDEN}
        info["general.parameter_count"] = self.parameter_count
        return orjson.dumps(info, option=orjson.OPT_SORT_KEYS).decode()


def check_unchanged(path: Path, known: GgufFile) -> None:
    """Raises ValueError if the file was replaced, OSError if it is gone."""
    status = path.stat()
    if (status.st_size, status.st_mtime_ns) != (known.size_bytes, known.modified_unix_ns):
        raise ValueError(f"{path} has changed since this worker read it; restart the worker to serve it")


def _open(path: Path) -> GGUFReader:
    try:
        return QuickGgufReader(path)
    except (IndexError, KeyError, OverflowError, ValueError) as error:
        raise ValueError(f"{path} is not a whole GGUF file: {error}") from error


def _value(reader: GGUFReader, name: str, with_lists: bool) -> Value:
    """A metadata value. Arrays become null, as Ollama shows them without `verbose`."""
    field = reader.fields[name]
    if field.types[0] == GGUFValueType.ARRAY and not with_lists:
        return None
    value = field.contents()
    is_float32 = field.types[-1] == GGUFValueType.FLOAT32
    if isinstance(value, list):
        return [_scalar(item, is_float32) for item in value]
    return _scalar(value, is_float32)


def _scalar(value: object, is_float32: bool) -> Scalar:
    if isinstance(value, float) and is_float32:
        return _shortest(value)
    return value if isinstance(value, str | int | float | bool) else str(value)


def _shortest(value: float) -> int | float:
    """The shortest decimal of a 32-bit float: 0.00001, not 9.999999747378752e-06; 100000, not 100000.0."""
    short = float(str(numpy.float32(value)))
    return int(short) if short.is_integer() else short


def _tensor(tensor: ReaderTensor) -> pb.Tensor:
    return pb.Tensor(name=tensor.name, type=tensor.tensor_type.name, shape=tensor.shape.tolist())


def _tensor_order(tensor: ReaderTensor) -> tuple[int, str]:
    """Sort key: block by block as Ollama lists tensors, those of no block first."""
    block = _BLOCK.match(tensor.name)
    return int(block[1]) if block else -1, tensor.name


def _header_digest(path: Path, size_bytes: int, header_bytes: int) -> str:
    """A digest of the size and the header (metadata, tokenizer, template, tensor table)."""
    digest = hashlib.sha256(f"gguf {size_bytes}\n".encode())
    with path.open("rb") as file:
        remaining = header_bytes
        while remaining > 0 and (block := file.read(min(remaining, 1 << 20))):
            digest.update(block)
            remaining -= len(block)
    return digest.hexdigest()
