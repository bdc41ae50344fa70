"""The one table of Ollama's options (docs/reference/ollama-contract.md, "Options").

Requests send them as `options` (frontend/api/core/options.py), operators set them for a model as PARAMETERs
(engine_worker/parameters.py), and /openapi.json describes them (frontend/openapi/fields.py).
"""

from __future__ import annotations

import enum
from dataclasses import dataclass

from drover.v1 import engine_pb2 as pb

FLOAT32_MAX = 3.4028234e38
INT32_MAX = 2**31 - 1
INT64_MAX = 2**63 - 1
UINT32_MAX = 2**32 - 1
NUM_KEEP = 4
"""Default of `num_keep`."""


class Kind(enum.Enum):
    """The kind of an option's value."""

    FLOAT = enum.auto()
    INTEGER = enum.auto()
    BOOLEAN = enum.auto()
    TEXTS = enum.auto()


class Scope(enum.Enum):
    """What an option changes: how tokens are sampled, one request otherwise, or how a model is loaded."""

    SAMPLING = enum.auto()
    REQUEST = enum.auto()
    LOADING = enum.auto()


@dataclass(frozen=True, slots=True)
class OllamaOption:
    """`limit` is the largest absolute value of a number. `default` is Ollama's, None if it has no fixed one.
    `flag` is the worker's flag for an option that a worker is started with. `about` describes it to clients.
    """

    name: str
    kind: Kind
    scope: Scope
    limit: float = 0
    default: float | None = None
    flag: str = ""
    about: str = ""


def _sampling_float(name: str, default: float, about: str = "") -> OllamaOption:
    return OllamaOption(name, Kind.FLOAT, Scope.SAMPLING, FLOAT32_MAX, default, about=about)


def _sampling_integer(name: str, default: int, about: str, limit: int = INT32_MAX) -> OllamaOption:
    return OllamaOption(name, Kind.INTEGER, Scope.SAMPLING, limit, default, about=about)


def _request_integer(name: str, about: str, flag: str = "") -> OllamaOption:
    return OllamaOption(name, Kind.INTEGER, Scope.REQUEST, INT32_MAX, flag=flag, about=about)


def _loading_integer(name: str, about: str, flag: str = "") -> OllamaOption:
    return OllamaOption(name, Kind.INTEGER, Scope.LOADING, INT64_MAX, flag=flag, about=about)


OPTIONS = (
    _sampling_float("temperature", 0.8, "0 always takes the most likely token."),
    _sampling_integer("top_k", 40, "0 or less: no limit."),
    _sampling_float("top_p", 0.9, "1 or more: no limit."),
    _sampling_float("min_p", 0.0),
    _sampling_float("typical_p", 1.0),
    _sampling_float("repeat_penalty", 1.0),
    _sampling_integer("repeat_last_n", 64, "Number of recent tokens that the penalties consider."),
    _sampling_float("presence_penalty", 0.0),
    _sampling_float("frequency_penalty", 0.0),
    _sampling_integer("seed", -1, "Negative: a random seed for each request.", INT64_MAX),
    _request_integer("num_predict", "Maximum number of generated tokens; 0 or less: ten times the context."),
    OllamaOption(
        "stop",
        Kind.TEXTS,
        Scope.REQUEST,
        about="Texts that end the generation; they are not part of the output.",
    ),
    _request_integer(
        "num_ctx",
        "Number of tokens of the model's context that the request may use; at least 4.",
        "--context-length",
    ),
    OllamaOption(
        "num_keep",
        Kind.INTEGER,
        Scope.REQUEST,
        INT32_MAX,
        NUM_KEEP,
        about="Number of leading tokens that are kept when the context is full; negative: all that fit.",
    ),
    _loading_integer("num_gpu", "Layers on a GPU.", "--gpu-layers"),
    _loading_integer("num_thread", "Threads of the CPU.", "--threads"),
    _loading_integer("num_batch", "Tokens per prefill step.", "--prefill-chunk-tokens"),
    _loading_integer("main_gpu", "The GPU for small tensors."),
    _loading_integer("draft_num_predict", "Tokens that a draft model predicts ahead."),
    OllamaOption("use_mmap", Kind.BOOLEAN, Scope.LOADING, about="Map the model's file into memory."),
)


def ollama_defaults() -> pb.Sampling:
    """Ollama's own sampling, for models that bring none."""
    sampling = pb.Sampling()
    for option in OPTIONS:
        if option.scope is Scope.SAMPLING and option.default is not None:
            setattr(sampling, option.name, option.default)
    return sampling
