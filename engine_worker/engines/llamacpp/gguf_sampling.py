"""Sampling that a GGUF recommends (`general.sampling.*`).

llama.cpp takes it for its own defaults, unseen. What Ollama has an option for becomes the model's defaults,
which `show` lists and a request overrides. The rest (mirostat, which switches top_k and top_p off, xtc, the
order of the samplers) is neutralised: no option of a request could switch it off again.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping

from drover.v1 import engine_pb2 as pb

_log = logging.getLogger("drover.worker")
_PREFIX = "general.sampling."
_FLOATS = {"temp": "temperature", "top_p": "top_p", "min_p": "min_p", "penalty_repeat": "repeat_penalty"}
_INTEGERS = {"top_k": "top_k", "penalty_last_n": "repeat_last_n"}
_INT32 = 2**31 - 1
# llama.cpp's own, for each request: a GGUF's would count otherwise.
NEUTRAL: Mapping[str, object] = {
    "mirostat": 0,
    "xtc_probability": 0.0,
    "samplers": [
        "penalties",
        "dry",
        "top_n_sigma",
        "top_k",
        "typ_p",
        "top_p",
        "min_p",
        "xtc",
        "temperature",
    ],
}


def recommended(values: Mapping[str, object]) -> pb.Sampling:
    """`values`: the GGUF's. What is neutralised or no number of its kind is left out, and the log says so."""
    sampling = pb.Sampling()
    for key, value in values.items():
        if key.startswith(_PREFIX) and not _set(sampling, key.removeprefix(_PREFIX), value):
            _log.warning("the GGUF's %s = %r is not used", key, value)
    return sampling


def _set(sampling: pb.Sampling, name: str, value: object) -> bool:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return False
    if name in _FLOATS:
        setattr(sampling, _FLOATS[name], value)
        return True
    if name in _INTEGERS and value == int(value) and abs(value) <= _INT32:
        setattr(sampling, _INTEGERS[name], int(value))
        return True
    return False
