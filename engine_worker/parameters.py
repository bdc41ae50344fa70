"""Ollama's PARAMETERs, as an operator sets them for a model (ollama-contract.md, "Options")."""

from __future__ import annotations

from collections.abc import Callable

import orjson

from drover.v1 import engine_pb2 as pb

_FLOAT32 = 3.4028234e38
_INT32 = 2**31 - 1
_INT64 = 2**63 - 1
_UINT32 = 2**32 - 1
Setter = Callable[[pb.Sampling, str, object], None]


def read_parameters(text: str) -> pb.Sampling:
    """Raises ValueError, for the operator, with the name of what is wrong."""
    sampling = pb.Sampling()
    if not text:
        return sampling
    try:
        values = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise ValueError(f'this is not JSON: {error}; write it like {{"temperature": 0}}') from error
    if not isinstance(values, dict):
        raise ValueError(
            'this is not a JSON object; write it like {"temperature": 0, "stop": ["<|im_end|>"]}'
        )
    for name, value in values.items():
        setter = _SETTERS.get(name)
        if setter is None:
            raise ValueError(f"{name!r} {_ELSEWHERE.get(name, _UNKNOWN)}")
        setter(sampling, name, value)
    return sampling


def _float(sampling: pb.Sampling, name: str, value: object) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float) or abs(value) > _FLOAT32:
        raise ValueError(f"{name!r} must be a number (it is {value!r})")
    setattr(sampling, name, value)


def _integer(name: str, value: object, most: int) -> int:
    """Floats without a fraction too, as in Ollama."""
    if isinstance(value, bool) or not isinstance(value, int | float) or value != int(value):
        raise ValueError(f"{name!r} must be a whole number (it is {value!r})")
    if abs(value) > most:
        raise ValueError(f"{name!r} is too large (it is {value!r})")
    return int(value)


def _sampling_integer(most: int) -> Setter:
    return lambda sampling, name, value: setattr(sampling, name, _integer(name, value, most))


def _num_predict(sampling: pb.Sampling, name: str, value: object) -> None:
    """0 and less is no limit."""
    if (limit := _integer(name, value, _UINT32)) > 0:
        sampling.max_tokens = limit


def _stop(sampling: pb.Sampling, name: str, value: object) -> None:
    texts = [value] if isinstance(value, str) else value
    if not isinstance(texts, list) or not all(isinstance(each, str) and each for each in texts):
        raise ValueError(f"{name!r} must be a list of texts (it is {value!r})")
    sampling.stop.extend(texts)


_SETTERS: dict[str, Setter] = {
    "temperature": _float,
    "top_k": _sampling_integer(_INT32),
    "top_p": _float,
    "min_p": _float,
    "typical_p": _float,
    "repeat_penalty": _float,
    "repeat_last_n": _sampling_integer(_INT32),
    "presence_penalty": _float,
    "frequency_penalty": _float,
    "seed": _sampling_integer(_INT64),
    "num_predict": _num_predict,
    "stop": _stop,
}
_ELSEWHERE = {
    "num_ctx": "is set with --context-length",
    "num_gpu": "is set with --gpu-layers",
    "num_thread": "is set with --threads",
    "num_batch": "is set with --prefill-chunk-tokens",
}
_UNKNOWN = f"is not a parameter that can be set here; these can: {', '.join(_SETTERS)}"
