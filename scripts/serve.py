"""A worker host, or one worker, and one frontend in the foreground: what `make serve` runs.

Both get the rest of their settings from the environment (DROVER_WORKER_…, DROVER_FRONTEND_…).
"""

from __future__ import annotations

import argparse
import asyncio
import ctypes
import json
import os
import signal
import socket
import sys
import urllib.request
from collections.abc import Sequence
from dataclasses import dataclass

HOST = "127.0.0.1"
_READY_SECONDS = 600.0
# A large model may have to be downloaded first.
_SGLANG_READY_SECONDS = 7200.0
_POLL_SECONDS = 0.1
_STOP_SECONDS = 40.0
# Processes should end soon after Ctrl-C. Settings in the environment override these.
_IMPATIENT = {
    "DROVER_FRONTEND_SHUTDOWN_GRACE_SECONDS": "3",
    "DROVER_WORKER_DRAIN_GRACE_SECONDS": "3",
    "DROVER_HOST_DRAIN_SECONDS": "3",
}


# Ignores the proxies of the environment.
_DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))
_PR_SET_PDEATHSIG = 1


class Stopped(Exception):
    """The start failed: the text has the reason and what to do."""


@dataclass(frozen=True)
class Plan:
    port: int
    worker_port: int
    store: str
    engine: str
    model: str
    worker_python: str

    @property
    def url(self) -> str:
        return f"http://{HOST}:{self.port}"

    @property
    def ready_seconds(self) -> float:
        return _SGLANG_READY_SECONDS if self.engine == "sglang" else _READY_SECONDS

    @property
    def has_host(self) -> bool:
        """Without a model of the caller's, a worker host loads those of a store."""
        return self.engine == "llamacpp" and not self.model

    def host(self) -> list[str]:
        listen = f"{HOST}:{self.worker_port}"
        store = ["--store", self.store] if self.store else []
        return [sys.executable, "-m", "engine_worker.host", "--listen", listen, "--embedded-model", *store]

    def worker(self) -> list[str]:
        listen = f"{HOST}:{self.worker_port}"
        model = ["--model", self.model] if self.model else []
        return [
            self.worker_python,
            "-m",
            "engine_worker",
            "--listen",
            listen,
            "--engine",
            self.engine,
            *model,
        ]

    def frontend(self) -> list[str]:
        behind = ["--hosts" if self.has_host else "--workers", f"{HOST}:{self.worker_port}"]
        return [sys.executable, "-m", "frontend", "--listen", f"{HOST}:{self.port}", *behind]


class Child:
    """A process in its own session: Ctrl-C reaches only the launcher, which stops the processes in order."""

    def __init__(self, name: str, process: asyncio.subprocess.Process) -> None:
        self.name = name
        self.process = process
        self.ended = asyncio.create_task(process.wait(), name=f"wait for the {name}")

    @classmethod
    async def start(cls, name: str, command: Sequence[str]) -> Child:
        environment = {**_IMPATIENT, **os.environ}
        process = await asyncio.create_subprocess_exec(
            *command, env=environment, start_new_session=True, preexec_fn=_end_with_parent
        )
        return cls(name, process)

    async def stop(self) -> None:
        if not self.ended.done():
            self.process.terminate()
            await asyncio.wait({self.ended}, timeout=_STOP_SECONDS)
        if not self.ended.done():
            self.process.kill()
            await self.ended


async def serve(plan: Plan) -> None:
    """Run until a signal, or until one of the two ends."""
    signalled = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        asyncio.get_running_loop().add_signal_handler(number, signalled.set)
    stop = asyncio.create_task(signalled.wait(), name="wait for a signal")
    children: list[Child] = []
    try:
        first = "worker host" if plan.has_host else f"worker ({plan.engine})"
        print(f"starting a {first} and a frontend on {plan.url} …", flush=True)
        if plan.has_host:
            children.append(await Child.start("worker host", plan.host()))
        else:
            children.append(await Child.start("worker", plan.worker()))
        children.append(await Child.start("frontend", plan.frontend()))
        ready = asyncio.create_task(_ready(plan), name="wait until ready")
        await _first_of(ready, stop, children)
        if stop.done():
            ready.cancel()
            return
        print(_banner(plan, ready.result()), flush=True)
        await _first_of(stop, stop, children)
    finally:
        stop.cancel()
        for child in reversed(children):
            await child.stop()
        print("stopped", flush=True)


async def _first_of(wanted: asyncio.Task[object], stop: asyncio.Task[object], children: list[Child]) -> None:
    """Raises Stopped when a child ends before it should."""
    ended = {child.ended for child in children}
    await asyncio.wait({wanted, stop, *ended}, return_when=asyncio.FIRST_COMPLETED)
    for child in children:
        if child.ended.done() and not stop.done():
            raise Stopped(f"the {child.name} ended with status {child.ended.result()} (its reason is above)")


async def _ready(plan: Plan) -> str:
    """Wait until requests are served. Returns the name of the first model."""
    async with asyncio.timeout(plan.ready_seconds):
        # Poll: another process has no event to wait for.
        while await asyncio.to_thread(_get, f"{plan.url}/readyz") is None:  # noqa: ASYNC110
            await asyncio.sleep(_POLL_SECONDS)
    tags = await asyncio.to_thread(_get, f"{plan.url}/api/tags")
    if tags is None:
        raise Stopped("the frontend became ready and then stopped answering")
    return str(json.loads(tags)["models"][0]["name"])


def _get(url: str) -> bytes | None:
    """None unless the response is a 200."""
    try:
        with _DIRECT.open(url, timeout=5) as answer:
            body: bytes = answer.read()
            return body
    except OSError:
        return None


def _banner(plan: Plan, model: str) -> str:
    body = json.dumps({"model": model, "messages": [{"role": "user", "content": "Hello!"}]})
    more = (
        f"  more    OLLAMA_HOST={plan.url} ollama pull qwen3:0.6b (docs/hosts.md)\n" if plan.has_host else ""
    )
    return (
        f"\nDrover is ready: point any Ollama client at {plan.url}\n"
        f"  model   {model}\n"
        f"  ollama  OLLAMA_HOST={plan.url} ollama run {model}\n"
        f"{more}"
        f"  curl    curl {plan.url}/api/chat -d '{body}'\n"
        "Ctrl-C stops both processes.\n"
    )


def _end_with_parent() -> None:
    """Run in the child: Linux kills it when the launcher dies."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


def _check_port(port: int) -> None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError as error:
            raise Stopped(
                f"port {port} cannot be used ({error.strerror}). If Ollama runs there, stop it or "
                "choose another port: make serve PORT=11500"
            ) from error


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        port: int = probe.getsockname()[1]
        return port


def main() -> int:
    parser = argparse.ArgumentParser(prog="make serve")
    parser.add_argument("--port", type=int, default=11434)
    parser.add_argument("--engine", default="llamacpp")
    parser.add_argument("--model", default="")
    parser.add_argument("--store", default="", help="folder of models that are pulled or created")
    parser.add_argument("--worker-python", default=sys.executable)
    wanted = parser.parse_args()
    plan = Plan(wanted.port, _free_port(), wanted.store, wanted.engine, wanted.model, wanted.worker_python)
    try:
        _check_port(plan.port)
        asyncio.run(serve(plan))
    except TimeoutError:
        print(f"cannot serve: not ready within {plan.ready_seconds:.0f} s", file=sys.stderr)
        return 1
    except Stopped as reason:
        print(f"cannot serve: {reason}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
