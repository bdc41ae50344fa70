"""Both tiers with the simulator as the engine: of this tree, or of an older commit's."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from benchmarks.answers import MODEL, write_script
from benchmarks.targets.base import Offer, Target
from tests.support.engine_client import engine_client
from tests.support.processes import ROOT, Stack, stack
from tests.support.waiting import until

_PROMPT_TOKENS = 256
_IDLE_SECONDS = 20.0


def simulator_flags(folder: Path, offer: Offer, prompt_tokens: int = _PROMPT_TOKENS) -> list[str]:
    script = write_script(folder, offer.tokens, offer.tokens_a_step)
    context = offer.tokens + prompt_tokens
    return [
        *("--engine", "simulator", "--model", MODEL, "--sim-script", str(script)),
        *("--sim-decode-step-base-ms", str(offer.step_ms), "--sim-decode-step-per-running-ms", "0"),
        *("--sim-running-limit", str(offer.streams), "--context-length", str(context)),
        *("--sim-kv-tokens", str(context * offer.streams), "--sim-prefill-tokens-per-second", "1000000"),
        *("--sim-prefill-chunk-tokens", "100000"),
    ]


@contextmanager
def drover(
    name: str,
    folder: Path,
    offer: Offer,
    root: Path = ROOT,
    frontend_flags: Sequence[str] = (),
    prompt_tokens: int = _PROMPT_TOKENS,
    python: str = sys.executable,
) -> Iterator[Target]:
    """`root`: the tree whose code runs; `python`: the interpreter of its environment."""
    folder.mkdir(exist_ok=True)
    with stack(
        folder, simulator_flags(folder, offer, prompt_tokens), frontend_flags, root, python
    ) as running:
        yield target(name, running)


def target(name: str, running: Stack) -> Target:
    async def until_idle() -> None:
        async with engine_client(running.worker.address) as engine:
            await until(engine.idle, _IDLE_SECONDS, f"the worker of {name} is idle")

    pids = {"worker": running.worker.pid, "frontend": running.frontend.pid}
    return Target(name, running.frontend.address, pids, until_idle)


@contextmanager
def worktree(commit: str, folder: Path, repository: Path = ROOT) -> Iterator[Path | None]:
    """Check out a commit in `folder`, removed afterwards; None if the repository lacks it."""

    def git(*arguments: str | Path) -> bool:
        command = ["git", *arguments]
        return subprocess.run(command, cwd=repository, capture_output=True, check=False).returncode == 0

    # Left over from a run that was killed.
    git("worktree", "prune")
    if not git("cat-file", "-e", f"{commit}^{{commit}}"):
        yield None
        return
    if not git("worktree", "add", "--detach", folder, commit):
        raise RuntimeError(f"git cannot make a worktree of {commit} in {folder}")
    try:
        yield folder
    finally:
        git("worktree", "remove", "--force", folder)
