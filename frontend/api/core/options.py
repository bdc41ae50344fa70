"""The `options` object: types, defaults and meaning of each option (ollama-contract.md, "Options")."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from drover.errors import InvalidOption
from drover.v1 import engine_pb2 as pb
from frontend.api.core.go_json import Json

_FLOAT32 = 3.4028234e38
_INT32 = 2**31 - 1
_INT64 = 2**63 - 1
_UINT32 = 2**32 - 1
_MIN_NUM_CTX = 4
# An answer is never longer than ten times the context (ollama-contract.md, "Options").
_MAX_PREDICT_PER_CONTEXT = 10


def ollama_defaults() -> pb.Sampling:
    return pb.Sampling(
        temperature=0.8,
        top_k=40,
        top_p=0.9,
        min_p=0.0,
        typical_p=1.0,
        repeat_penalty=1.0,
        repeat_last_n=64,
        presence_penalty=0.0,
        frequency_penalty=0.0,
        seed=-1,
    )


@dataclass(slots=True)
class Options:
    """The options of a request; None or empty where they are not set.

    `ignored`: names of options that are fixed when a worker starts.
    """

    sampling: pb.Sampling = field(default_factory=pb.Sampling)
    num_predict: int | None = None
    num_ctx: int | None = None
    num_keep: int | None = None
    stop: list[str] | None = None
    ignored: list[str] = field(default_factory=list)

    @classmethod
    def read(cls, options: dict[str, Json]) -> Options:
        """Raises InvalidOption for a value of the wrong type; unknown names have no effect."""
        result = cls()
        for name, value in options.items():
            reader = _READERS.get(name)
            if reader is not None and value is not None:
                reader(result, name, value)
        return result

    @property
    def window(self) -> int | None:
        """`num_ctx` of a generating request, which is at least four tokens."""
        return None if self.num_ctx is None else max(_MIN_NUM_CTX, self.num_ctx)

    def not_honoured(self, context_length: int) -> list[str]:
        """Names of options that a model with that context clips or ignores."""
        is_clipped = self.num_ctx is not None and self.num_ctx > context_length
        return [*self.ignored, "num_ctx"] if is_clipped else self.ignored

    def sampling_for(self, defaults: pb.Sampling, context_length: int, max_output_tokens: int) -> pb.Sampling:
        """Merge every option: Ollama's default < the model's < the request's. `max_output_tokens`: 0 for no
        limit.
        """
        sampling = ollama_defaults()
        sampling.MergeFrom(defaults)
        if self.stop is not None:
            del sampling.stop[:]
            sampling.stop.extend(stop for stop in self.stop if stop)
        sampling.MergeFrom(self.sampling)
        limits = [_MAX_PREDICT_PER_CONTEXT * (self.window or context_length)]
        if self.num_predict is not None:
            sampling.ClearField("max_tokens")
            if self.num_predict > 0:
                limits.append(self.num_predict)
        if sampling.HasField("max_tokens"):
            limits.append(sampling.max_tokens)
        if max_output_tokens:
            limits.append(max_output_tokens)
        sampling.max_tokens = min(max(1, min(limits)), _UINT32)
        return sampling


def layered(parameters: Mapping[str, Json], options: Mapping[str, Json]) -> dict[str, Json]:
    """A preset's parameters, overridden by a request's options that are not `null`."""
    return {**parameters, **{name: value for name, value in options.items() if value is not None}}


Setter = Callable[[Options, str, Json], None]


def _float_option(options: Options, name: str, value: Json) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise InvalidOption(f'option "{name}" must be of type float32')
    setattr(options.sampling, name, max(-_FLOAT32, min(_FLOAT32, value)))


def _integer(name: str, value: Json, limit: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int | float) or value != value:
        raise InvalidOption(f'option "{name}" must be of type integer')
    return int(max(-limit, min(limit, value)))


def _sampling_integer(limit: int) -> Setter:
    def set_integer(options: Options, name: str, value: Json) -> None:
        setattr(options.sampling, name, _integer(name, value, limit))

    return set_integer


def _own_integer(options: Options, name: str, value: Json) -> None:
    setattr(options, name, _integer(name, value, _INT32))


def _ignored_integer(options: Options, name: str, value: Json) -> None:
    _integer(name, value, _INT64)
    options.ignored.append(name)


def _ignored_boolean(options: Options, name: str, value: Json) -> None:
    if not isinstance(value, bool):
        raise InvalidOption(f'option "{name}" must be of type boolean')
    options.ignored.append(name)


def _stop(options: Options, name: str, value: Json) -> None:
    if not isinstance(value, list):
        raise InvalidOption(f'option "{name}" must be of type array')
    stops = [item for item in value if isinstance(item, str)]
    if len(stops) != len(value):
        raise InvalidOption(f'option "{name}" must be of an array of strings')
    options.stop = stops


_READERS: dict[str, Setter] = {
    "temperature": _float_option,
    "top_p": _float_option,
    "min_p": _float_option,
    "typical_p": _float_option,
    "repeat_penalty": _float_option,
    "presence_penalty": _float_option,
    "frequency_penalty": _float_option,
    "top_k": _sampling_integer(_INT32),
    "repeat_last_n": _sampling_integer(_INT32),
    "seed": _sampling_integer(_INT64),
    "num_predict": _own_integer,
    "num_ctx": _own_integer,
    "num_keep": _own_integer,
    "stop": _stop,
    "num_batch": _ignored_integer,
    "num_gpu": _ignored_integer,
    "main_gpu": _ignored_integer,
    "num_thread": _ignored_integer,
    "draft_num_predict": _ignored_integer,
    "use_mmap": _ignored_boolean,
}
