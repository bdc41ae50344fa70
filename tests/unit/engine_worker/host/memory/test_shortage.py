"""Which ends of workers are for lack of memory."""

from __future__ import annotations

import pytest

from engine_worker.host.memory.shortage import OomKills


@pytest.mark.parametrize(
    "words",
    [
        "llama.cpp could not load m.gguf: unable to allocate CPU buffer",
        "ggml_backend_cpu_buffer_type_alloc_buffer: failed to allocate buffer of size 9",
        "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB",
        "Loaded weights leave no GPU memory for the KV cache under --mem-fraction-static=0.1",
        "terminate called after throwing an instance of 'std::bad_alloc'",
    ],
)
def test_what_engines_say(words: str) -> None:
    assert OomKills.is_in_words(f"its worker ended (status 1): {words}")


def test_a_kill_is_one_of_the_kernels_if_it_counts_one() -> None:
    count = 5
    kills = OomKills(lambda: count)
    assert not kills.was_killed("its worker ended (signal 9)")
    count = 6
    assert kills.was_killed("its worker ended (signal 9)")
    assert kills.was_killed("its worker ended (status 1): llama.cpp exited while it loaded (signal 9)")
    assert not kills.was_killed("its worker ended (status 2): no such flag")


def test_a_kill_long_ago_explains_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    count = 0
    kills = OomKills(lambda: count)
    count = 1
    kills.look()
    monkeypatch.setattr("engine_worker.host.memory.shortage._RECENT_SECONDS", 0.0)
    assert not kills.was_killed("its worker ended (signal 9)")
