"""Read the `options` object of a request (ollama-contract.md, "Options"; the table is in drover)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from drover.errors import InvalidOption
from drover.ollama_options import OPTIONS, UINT32_MAX, Kind, OllamaOption, Scope, ollama_defaults
from drover.v1 import engine_pb2 as pb
from frontend.api.core.go_json import Json

_MIN_NUM_CTX = 4
# An answer is never longer than ten times the context (ollama-contract.md, "Options").
_MAX_PREDICT_PER_CONTEXT = 10


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
            option = _OPTIONS.get(name)
            if option is not None and value is not None:
                result._set(option, value)
        return result

    def _set(self, option: OllamaOption, value: Json) -> None:
        checked = _checked(option, value)
        match option.scope:
            case Scope.SAMPLING:
                setattr(self.sampling, option.name, checked)
            case Scope.REQUEST:
                setattr(self, option.name, checked)
            case Scope.LOADING:
                self.ignored.append(option.name)

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
        sampling.max_tokens = min(max(1, min(limits)), UINT32_MAX)
        return sampling


def layered(parameters: Mapping[str, Json], options: Mapping[str, Json]) -> dict[str, Json]:
    """A preset's parameters, overridden by a request's options that are not `null`."""
    return {**parameters, **{name: value for name, value in options.items() if value is not None}}


_OPTIONS = {option.name: option for option in OPTIONS}


def _checked(option: OllamaOption, value: Json) -> Json:
    """The value in its range. Raises InvalidOption for one of the wrong kind."""
    match option.kind:
        case Kind.FLOAT:
            return _float(option, value)
        case Kind.INTEGER:
            return _integer(option, value)
        case Kind.BOOLEAN:
            if not isinstance(value, bool):
                raise InvalidOption(f'option "{option.name}" must be of type boolean')
            return value
        case Kind.TEXTS:
            return _texts(option, value)


def _float(option: OllamaOption, value: Json) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise InvalidOption(f'option "{option.name}" must be of type float32')
    return max(-option.limit, min(option.limit, value))


def _integer(option: OllamaOption, value: Json) -> int:
    if isinstance(value, bool) or not isinstance(value, int | float) or value != value:
        raise InvalidOption(f'option "{option.name}" must be of type integer')
    return int(max(-option.limit, min(option.limit, value)))


def _texts(option: OllamaOption, value: Json) -> list[Json]:
    if not isinstance(value, list):
        raise InvalidOption(f'option "{option.name}" must be of type array')
    if not all(isinstance(item, str) for item in value):
        raise InvalidOption(f'option "{option.name}" must be of an array of strings')
    return value
