"""Checks of constrained answers: the grammar before it is used, the JSON text when the answer ends.

llama.cpp compiles grammars in its decode loop, which stalls all streams, and generates without the grammar
if it cannot compile it. It also drops a grammar in mid-answer when its library fails, and reports that in its
log only.
"""

from __future__ import annotations

import asyncio
import json
import sys
from asyncio.subprocess import PIPE, Process
from collections import OrderedDict
from contextlib import suppress
from hashlib import blake2b
from pathlib import Path

from drover.errors import ConstraintRejected
from drover.v1 import engine_pb2 as pb
from engine_worker.engines.llamacpp import grammar_compiler_process

_SCRIPT = Path(grammar_compiler_process.__file__)
_START_SECONDS = 30.0
_MAX_REMEMBERED = 256
_MAX_LINE_BYTES = 1 << 20


class GrammarChecker:
    """Compiles grammars in a child process, one at a time. The child starts with the first grammar; it is
    killed if one takes longer than `seconds`, and the next grammar starts another.
    """

    def __init__(self, seconds: float = 3.0, script: Path = _SCRIPT) -> None:
        self._seconds = seconds
        self._script = script
        self._process: Process | None = None
        self._lock = asyncio.Lock()
        self._good: OrderedDict[bytes, None] = OrderedDict()

    async def close(self) -> None:
        process, self._process = self._process, None
        if process is not None:
            with suppress(ProcessLookupError):
                process.kill()
            await process.wait()

    async def check(self, grammar: str, with_words: bool = False) -> None:
        """Raises ConstraintRejected for a grammar that does not compile in time. Remembers those that do.
        `with_words`: try it with tokens of several characters too.
        """
        key = blake2b(f"{with_words}{grammar}".encode(), digest_size=16).digest()
        if key in self._good:
            self._good.move_to_end(key)
            return
        async with self._lock:
            if problem := await self._problem([grammar] if with_words else grammar):
                raise ConstraintRejected(f"the engine cannot work with this format: {problem}")
        self._good[key] = None
        while len(self._good) > _MAX_REMEMBERED:
            self._good.popitem(last=False)

    async def _problem(self, grammar: str | list[str]) -> str:
        try:
            process = self._process or await self._start()
            assert process.stdin is not None
            process.stdin.write(json.dumps(grammar).encode() + b"\n")
            return await self._line(process, self._seconds)
        except TimeoutError:
            await self.close()
            return f"compiling its grammar takes more than {self._seconds:g} s; make the schema smaller"
        except (ConnectionError, EOFError):
            await self.close()
            return "compiling its grammar breaks the compiler; make the schema smaller"
        except asyncio.CancelledError:
            # The next check would read this one's answer.
            await self.close()
            raise

    async def _start(self) -> Process:
        self._process = process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-P",
            str(self._script),
            stdin=PIPE,
            stdout=PIPE,
            start_new_session=True,
            limit=_MAX_LINE_BYTES,
        )
        await self._line(process, _START_SECONDS)
        return process

    async def _line(self, process: Process, seconds: float) -> str:
        assert process.stdout is not None
        line = await asyncio.wait_for(process.stdout.readline(), seconds)
        if not line:
            raise EOFError
        return str(json.loads(line))


def ended_by_itself(event: pb.GenerateEvent) -> bool:
    """True for the last event of an answer that neither a limit nor a stop text or token cut."""
    done = event.done
    return (
        event.HasField("done") and done.finish_reason == pb.Done.STOP and done.WhichOneof("matched") is None
    )


class JsonAnswerCheck:
    """Verifies that an answer which ends by itself is one JSON text."""

    def __init__(self) -> None:
        self._parts: list[str] = []

    def feed(self, event: pb.GenerateEvent) -> None:
        """Raises ConstraintRejected at the last event. Answers cut by a limit or a stop text pass."""
        self._parts.extend(delta.content for delta in event.deltas if delta.content)
        if not ended_by_itself(event):
            return
        try:
            json.loads("".join(self._parts), strict=False)
        except ValueError as error:
            raise ConstraintRejected(
                f"the engine did not keep to the format: {error}; make the schema smaller or simpler"
            ) from error
