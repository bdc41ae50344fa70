"""Scores of labels: those of the script, or others that a hash of the prompt gives."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from hashlib import blake2b
from struct import pack

from engine_worker.engines.simulator.tokens import bytes_of_all

# Of a label that a script does not name.
_UNNAMED = 1e-9
_SPREAD = 4.0
_LEAST_MASS = 0.1


def label_logprobs(
    prompt_ids: Sequence[int], label_ids: Sequence[int], scripted: Mapping[str, float] | None, seed: int
) -> list[float]:
    """`scripted`: probabilities by label. Without it, a prompt always gives a label the same odds against
    another one, and each prompt gives the labels together another share of the probability. Raises
    InvalidRequest for unknown ids.
    """
    texts = [bytes_of_all([token]).decode(errors="replace") for token in label_ids]
    if scripted is not None:
        return [math.log(scripted.get(text) or _UNNAMED) for text in texts]
    key = blake2b(pack(f"<{len(prompt_ids)}I", *prompt_ids), key=b"%d" % seed, digest_size=32).digest()
    weights = [math.exp(_SPREAD * _share(key, token)) for token in label_ids]
    mass = _LEAST_MASS + (1 - _LEAST_MASS) * _share(key, 0)
    return [math.log(mass * weight / math.fsum(weights)) for weight in weights]


def _share(key: bytes, number: int) -> float:
    """A number from 0 to below 1."""
    digest = blake2b(pack("<I", number), key=key, digest_size=8).digest()
    return int.from_bytes(digest, "big") / 2**64
