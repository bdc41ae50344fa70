"""One run of an agent: in a home and a project folder of its own, and with no network but the frontend."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from tests.agents.network import Recorder, Refusal, serving
from tests.agents.programs import Agent, Desk

_END_SECONDS = 120.0
_LAST_CHARACTERS = 4000


@dataclass
class Run:
    """`seconds`: how long it lasted, once it has ended."""

    agent: Agent
    desk: Desk
    wire: Recorder
    refusal: Refusal
    process: asyncio.subprocess.Process
    began: float = field(default_factory=time.monotonic)
    seconds: float = 0.0
    stdout: str = ""
    stderr: str = ""

    @property
    def output(self) -> str:
        return f"{self.stdout}\n--- stderr\n{self.stderr}"

    @property
    def requests(self) -> int:
        """Of the agent's conversation, and those that it makes for itself."""
        return len(self.wire.posts(self.agent.route))

    async def end(self, seconds: float = _END_SECONDS) -> int:
        """Its exit status."""
        try:
            async with asyncio.timeout(seconds):
                out, err = await self.process.communicate()
        except TimeoutError:
            raise AssertionError(
                f"{self.agent.name} has not ended within {seconds} s; {self.requests} requests; answered: "
                f"{bytes(self.wire.answered[-_LAST_CHARACTERS:])!r}"
            ) from None
        self.seconds = time.monotonic() - self.began
        self.stdout, self.stderr = out.decode(errors="replace"), err.decode(errors="replace")
        assert self.process.returncode is not None
        return self.process.returncode

    def interrupt(self) -> None:
        """As Ctrl-C does in a terminal: for all processes of the agent."""
        os.killpg(self.process.pid, signal.SIGINT)


@asynccontextmanager
async def running(
    agent: Agent, prompt: str, folder: Path, modules: Path, address: str, model: str
) -> AsyncIterator[Run]:
    """`address`: the frontend's."""
    wire, refusal = Recorder(address), Refusal()
    async with serving(wire.serve) as wire.url, serving(refusal.serve) as refusal.url:
        desk = Desk(folder / "home", folder / "project", modules, wire.url, model)
        desk.home.mkdir()
        desk.project.mkdir(exist_ok=True)
        environment = {**_environment(desk, refusal.url), **agent.prepare(desk)}
        process = await asyncio.create_subprocess_exec(
            *agent.command(desk, prompt),
            cwd=desk.project,
            env=environment,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            start_new_session=True,
        )
        try:
            yield Run(agent, desk, wire, refusal, process)
        finally:
            # Also what it left behind in its process group.
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            await process.wait()


def _environment(desk: Desk, refusal: str) -> dict[str, str]:
    """None of the variables of the test run itself; Node.js is the installed one."""
    proxies = {name: refusal for each in ("HTTP_PROXY", "HTTPS_PROXY") for name in (each, each.lower())}
    return {
        **proxies,
        "NO_PROXY": "127.0.0.1",
        "no_proxy": "127.0.0.1",
        "HOME": str(desk.home),
        "PATH": f"{desk.modules / '.bin'}:{os.environ['PATH']}",
        "TERM": "dumb",
        "TMPDIR": str(desk.home.parent),
        # Claude Code refuses to run tools unasked as root outside one.
        "IS_SANDBOX": "1",
        "LANG": "C.UTF-8",
    }
