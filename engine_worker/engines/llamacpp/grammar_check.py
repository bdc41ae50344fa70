"""Whether llama.cpp can work with a grammar, found out beforehand and elsewhere.

llama.cpp compiles grammars in its decode loop, where all streams wait for it, and answers without one that it
cannot compile.
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
from engine_worker.engines.llamacpp import grammar_process

_SCRIPT = Path(grammar_process.__file__)
_START_SECONDS = 30.0
_MOST_REMEMBERED = 256
_MOST_BYTES_OF_A_LINE = 1 << 20


class GrammarCheck:
    """One child, which is there from the first grammar on; one grammar at a time. What takes longer than
    `seconds` ends the child, and the next grammar gets a new one.
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

    async def check(self, grammar: str) -> None:
        """Raises ConstraintRejected."""
        key = blake2b(grammar.encode(), digest_size=16).digest()
        if key in self._good:
            self._good.move_to_end(key)
            return
        async with self._lock:
            if problem := await self._problem(grammar):
                raise ConstraintRejected(f"the engine cannot work with this format: {problem}")
        self._good[key] = None
        while len(self._good) > _MOST_REMEMBERED:
            self._good.popitem(last=False)

    async def _problem(self, grammar: str) -> str:
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
            # Its answer would be taken for the next one's.
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
            limit=_MOST_BYTES_OF_A_LINE,
        )
        await self._line(process, _START_SECONDS)
        return process

    async def _line(self, process: Process, seconds: float) -> str:
        assert process.stdout is not None
        line = await asyncio.wait_for(process.stdout.readline(), seconds)
        if not line:
            raise EOFError
        return str(json.loads(line))
