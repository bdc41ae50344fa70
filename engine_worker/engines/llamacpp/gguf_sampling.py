"""Sampling parameters that a GGUF recommends (`general.sampling.*`).

llama.cpp silently uses them as its defaults. Those that Ollama has an option for become the model's defaults,
which `show` lists and a request overrides. The others (mirostat, which disables top_k and top_p, xtc, the
order of the samplers) are overridden with neutral values, since no option of a request could disable them.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping

from drover.ollama_options import INT32_MAX
from drover.v1 import engine_pb2 as pb

_log = logging.getLogger("drover.worker")
_PREFIX = "general.sampling."
_FLOATS = {"temp": "temperature", "top_p": "top_p", "min_p": "min_p", "penalty_repeat": "repeat_penalty"}
_INTEGERS = {"top_k": "top_k", "penalty_last_n": "repeat_last_n"}
# llama.cpp's own defaults, sent with each request so that a GGUF's do not apply.
NEUTRAL_SAMPLING: Mapping[str, object] = {
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


def recommended_sampling(values: Mapping[str, object]) -> pb.Sampling:
    """The model's default sampling. `values`: the GGUF's metadata. Parameters without an option, or with a
    value of the wrong type, are left out with a warning.
    """
    sampling = pb.Sampling()
    for key, value in values.items():
        if key.startswith(_PREFIX) and not _set(sampling, key.removeprefix(_PREFIX), value):
            _log.warning("ignoring %s = %r of the GGUF", key, value)
    return sampling


def _set(sampling: pb.Sampling, name: str, value: object) -> bool:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return False
    if name in _FLOATS:
        setattr(sampling, _FLOATS[name], value)
        return True
    if name in _INTEGERS and value == int(value) and abs(value) <= INT32_MAX:
        setattr(sampling, _INTEGERS[name], int(value))
        return True
    return False
