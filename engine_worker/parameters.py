"""Read Ollama's PARAMETERs, as an operator sets them for a model (ollama-contract.md, "Options")."""

from __future__ import annotations

import orjson

from drover.ollama_options import OPTIONS, UINT32_MAX, Kind, OllamaOption, Scope
from drover.v1 import engine_pb2 as pb

_REQUEST_PARAMETERS = ("num_predict", "stop")
SAMPLING_PARAMETERS = {
    option.name: option
    for option in OPTIONS
    if option.scope is Scope.SAMPLING or option.name in _REQUEST_PARAMETERS
}
# By the flag of the worker that sets each.
STARTING_PARAMETERS = {option.name: option.flag for option in OPTIONS if option.flag}


def read_parameters(text: str) -> pb.Sampling:
    """Parse the JSON object of an operator. Raises ValueError with the name of what is wrong."""
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
        _set(sampling, name, value)
    return sampling


def _set(sampling: pb.Sampling, name: str, value: object) -> None:
    if name in STARTING_PARAMETERS:
        raise ValueError(f"{name!r} is set with {STARTING_PARAMETERS[name]}")
    option = SAMPLING_PARAMETERS.get(name)
    if option is None:
        names = ", ".join(SAMPLING_PARAMETERS)
        raise ValueError(f"{name!r} is not a parameter that can be set here; these can: {names}")
    if option.kind is Kind.TEXTS:
        sampling.stop.extend(_texts(name, value))
    elif name == "num_predict":
        # 0 and less: no limit.
        if (limit := _integer(name, value, UINT32_MAX)) > 0:
            sampling.max_tokens = limit
    else:
        setattr(sampling, name, _number(option, value))


def _number(option: OllamaOption, value: object) -> float:
    if option.kind is Kind.INTEGER:
        return _integer(option.name, value, option.limit)
    if isinstance(value, bool) or not isinstance(value, int | float) or abs(value) > option.limit:
        raise ValueError(f"{option.name!r} must be a number (it is {value!r})")
    return value


def _integer(name: str, value: object, limit: float) -> int:
    """Read a whole number; floats without a fraction count too, as in Ollama."""
    if isinstance(value, bool) or not isinstance(value, int | float) or value != int(value):
        raise ValueError(f"{name!r} must be a whole number (it is {value!r})")
    if abs(value) > limit:
        raise ValueError(f"{name!r} is too large (it is {value!r})")
    return int(value)


def _texts(name: str, value: object) -> list[str]:
    texts = [value] if isinstance(value, str) else value
    if not isinstance(texts, list) or not all(isinstance(each, str) and each for each in texts):
        raise ValueError(f"{name!r} must be a list of texts (it is {value!r})")
    return texts
