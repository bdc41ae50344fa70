"""JSON error messages of the Go release that Ollama's releases are built with. The recordings were made with
a newer one, whose decoder names a type of Ollama's own where the released one names the request's field.
"""

from __future__ import annotations

import re

_MESSAGES = [
    (r"json: cannot unmarshal string into \w+\.images\.\d+ of type api\.ImageData: (illegal base64)", r"\1"),
    (r"Go struct field Alias\.", "Go struct field ChatRequest.messages."),
    (r"Go value of type api\.Alias", "Go struct field ChatRequest.messages of type api.Alias"),
]


def as_released(text: str) -> str:
    for recorded, released in _MESSAGES:
        text = re.sub(recorded, released, text)
    return text
