"""The sampling values that the simulated engine accepts."""

from __future__ import annotations

from drover.ollama_options import INT32_MAX
from engine_worker.engines.option_ranges import Bounds, Range

# Up to this temperature the most likely token is chosen in any case.
_GREEDY = 2**-13

# The simulator computes nothing with most of these numbers, but accepts what engines accept.
BOUNDS = Bounds(
    sampling={
        "temperature": Range(0.0, 100.0, replaced=(_GREEDY, 0.0)),
        "top_k": Range(0, INT32_MAX, same_below=True),
        "top_p": Range(0.0, 1.0, same_below=True, same_above=True),
        "min_p": Range(0.0, 1.0, same_below=True, same_above=True),
        "typical_p": Range(0.0, 1.0, same_below=True, same_above=True),
        "repeat_penalty": Range(0.0625, 100.0, replaced=(0.0, 1.0)),
        "repeat_last_n": Range(-1, INT32_MAX, same_below=True),
        "presence_penalty": Range(-100.0, 100.0),
        "frequency_penalty": Range(-100.0, 100.0),
    },
    bias=Range(-100.0, 100.0),
)
