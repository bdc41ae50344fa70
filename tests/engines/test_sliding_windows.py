"""A llama.cpp model with sliding windows: requests share prefixes, within the memory allowed for it."""

from __future__ import annotations

from pathlib import Path

import pytest

from drover.v1 import engine_pb2 as pb
from tests.support.engine_client import engine_client
from tests.support.processes import worker
from tests.support.sliding_gguf import WINDOW, write_sliding_gguf

pytestmark = pytest.mark.real_model

_SYSTEM = "You answer in the manner of a sailor who has seen every harbour of the seven seas. " * 12
# llama.cpp keeps some hundred tokens more than a window.
_QUESTIONS = ("What is the tide? " * 80, "Who painted the ship? " * 80, "Where is the wind? " * 80)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("sliding") / "sliding.gguf"
    write_sliding_gguf(path)
    return path


async def _cached(model: Path, log: Path, *flags: str) -> tuple[list[int], str]:
    """Tokens that each question found in the cache, and what the log says of the windows."""
    counts = []
    named = ("--engine", "llamacpp", "--model", str(model), "--context-length", "2048", "--slots", "2")
    with worker(log, *named, *flags) as process:
        async with engine_client(process.address) as engine:
            for question in _QUESTIONS:
                request = pb.GenerateRequest(
                    sampling=pb.Sampling(temperature=0, max_tokens=8, ignore_eos=True)
                )
                request.chat.messages.add(role="system", content=_SYSTEM)
                request.chat.messages.add(role="user", content=question)
                _, done = await engine.text(request)
                assert done.prompt_tokens > 6 * WINDOW
                counts.append(done.cached_tokens)
        said = [line for line in process.log_text().splitlines() if "sliding windows" in line]
    return counts, "\n".join(said)


async def test_questions_behind_one_system_message_share_it(model: Path, tmp_path: Path) -> None:
    (first, *others), said = await _cached(model, tmp_path / "w.log")
    assert first == 0
    assert min(others) > 6 * WINDOW
    assert "full KV cache" in said
    assert '"whole_cache_mib":' in said


async def test_beyond_the_memory_that_is_allowed_the_windows_alone_are_kept(
    model: Path, tmp_path: Path
) -> None:
    counts, said = await _cached(model, tmp_path / "w.log", "--sliding-window-cache-mib", "0")
    assert max(counts) < WINDOW
    assert "raise --sliding-window-cache-mib" in said
    assert '"allowed_mib":0' in said
