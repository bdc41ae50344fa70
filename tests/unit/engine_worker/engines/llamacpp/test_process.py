"""The environment of llama.cpp's process."""

from __future__ import annotations

import pytest

from engine_worker.engines.llamacpp.process import llama_environment


def test_threads_spin_only_briefly_at_barriers() -> None:
    assert llama_environment({"HOME": "/h"}) == {"HOME": "/h", "GOMP_SPINCOUNT": "1000"}


@pytest.mark.parametrize("name", ["GOMP_SPINCOUNT", "OMP_WAIT_POLICY"])
def test_the_operators_openmp_wait_policy_is_kept(name: str) -> None:
    assert llama_environment({name: "x"}) == {name: "x"}
