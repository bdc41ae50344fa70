"""Whether SGLang's model stays, sleeps, or ends with its process."""

from __future__ import annotations

import pytest

from engine_worker.engines import sglang_options
from engine_worker.engines.sglang.options import MEMORY_SAVER, WEIGHTS_BACKUP, SglangOptions
from engine_worker.settings import WorkerSettings


def options(*flags: str, manifest: str = "") -> SglangOptions:
    return sglang_options(
        WorkerSettings(engine="sglang", model="org/model", sglang_args=" ".join(flags), manifest=manifest)
    )


@pytest.mark.parametrize(
    ("flags", "manifest", "pinned"),
    [((), "", True), ((), "sha256:a", False), ((MEMORY_SAVER, WEIGHTS_BACKUP), "", False)],
)
def test_a_model_is_pinned_unless_it_sleeps_or_a_host_has_it(
    flags: tuple[str, ...], manifest: str, pinned: bool
) -> None:
    assert options(*flags, manifest=manifest).pinned is pinned


def test_without_a_copy_of_the_weights_the_start_is_refused() -> None:
    with pytest.raises(ValueError, match=WEIGHTS_BACKUP):
        options(MEMORY_SAVER)
