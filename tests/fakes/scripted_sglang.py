"""A worker whose SGLang engine says what a script says: `python -m tests.fakes.scripted_sglang`, with a
worker's flags and the scripts' file in DROVER_TEST_SCRIPTS.

The engine, its templates, its parsers and all of Drover are real; only the tokens are not: in their place
come the pieces of the script whose name is in the prompt, one for each token. The file is a JSON object of
names and lists; a number in a list is a pause in seconds, null an engine that breaks down; a text instead
of a list is an error of the engine.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from pathlib import Path

from drover.errors import ContextExceeded, EngineFailed, NoWorkerReady
from engine_worker.__main__ import main
from engine_worker.engines import sglang_options
from engine_worker.engines.sglang.engine import SglangEngine
from engine_worker.engines.sglang.options import SglangOptions
from engine_worker.engines.sglang.output_builder import OutputBuilder
from engine_worker.engines.sglang.upstream.calls import Chunk, Finish, Meta, SglangRequest
from engine_worker.engines.sglang.upstream.process import EngineProcess
from tests.fakes.scripted_sglang_names import SCRIPTS

Piece = str | float | None
Scripts = dict[str, list[Piece] | str]

_FIRST_ID = 1 << 20
_OTHER = "zz"
_LOGPROB, _OTHER_LOGPROB = -0.25, -1.5
_ERRORS = {
    "#err400": ContextExceeded(
        '{"error": {"code": 400, "message": "the request exceeds the available context size", '
        '"type": "exceed_context_size_error"}}'
    ),
    "#err503": NoWorkerReady(
        '{"error": {"code": 503, "message": "Loading model", "type": "unavailable_error"}}'
    ),
}


class Table:
    """A token for each text that scripts say."""

    def __init__(self) -> None:
        self._texts: list[str] = []

    def id_of(self, text: str) -> int:
        if text not in self._texts:
            self._texts.append(text)
        return _FIRST_ID + self._texts.index(text)

    def bytes_of(self, token: int) -> bytes:
        return self._texts[token - _FIRST_ID].encode()

    def is_special(self, token: int) -> bool:
        return False


class ScriptedProcess(EngineProcess):
    table: Table
    scripts: Scripts

    async def generate(self, request: SglangRequest, on_chunk: Callable[[Chunk], bool]) -> None:
        # The model itself answers the warm-up request, which comes before there are scripts.
        script = self._script(request) if hasattr(self, "scripts") else None
        if script is None:
            await super().generate(request, on_chunk)
            return
        async with aclosing(self._chunks(script, request)) as chunks:
            async for chunk in chunks:
                if on_chunk(chunk):
                    return

    async def _chunks(self, script: list[Piece], request: SglangRequest) -> AsyncGenerator[Chunk, None]:
        limit = request["sampling_params"]["max_new_tokens"]
        said: list[str] = []
        for piece in script:
            if piece is None:
                raise EngineFailed("the script ends here")
            if isinstance(piece, float):
                await asyncio.sleep(piece)
                continue
            said.append(piece)
            yield self._chunk(piece, said, request)
            if len(said) == limit:
                yield self._last("length", said)
                return
        yield self._last("stop", said)

    def _script(self, request: SglangRequest) -> list[Piece] | None:
        prompt = self.manager.tokenizer.decode(request["input_ids"])
        names = [name for name in self.scripts if f"{name}<" in prompt or prompt.endswith(name)]
        if not names:
            return None
        script = self.scripts[max(names, key=prompt.rindex)]
        if isinstance(script, str):
            raise _ERRORS[script]
        return script

    def _chunk(self, piece: str, said: list[str], request: SglangRequest) -> Chunk:
        token, other = self.table.id_of(piece), self.table.id_of(_OTHER)
        meta = Meta(finish_reason=None, completion_tokens=len(said))
        if request.get("return_logprob"):
            meta["output_token_logprobs"] = [(_LOGPROB, token, None)]
            meta["output_top_logprobs"] = [[(_LOGPROB, token, None), (_OTHER_LOGPROB, other, None)]]
        return Chunk(text=piece, output_ids=[token], meta_info=meta)

    def _last(self, kind: str, said: list[str]) -> Chunk:
        meta = Meta(finish_reason=Finish(type=kind), completion_tokens=len(said))
        return Chunk(text="", output_ids=[], meta_info=meta)


class ScriptedEngine(SglangEngine):
    def __init__(self, options: SglangOptions) -> None:
        super().__init__(options, ScriptedProcess)

    async def start(self) -> None:
        await super().start()
        table = Table()
        assert isinstance(self._process, ScriptedProcess)
        self._process.table = table
        self._process.scripts = read_scripts()
        self._outputs = OutputBuilder(self._loaded.templates, table, self._loaded.tokenizer)


def read_scripts() -> Scripts:
    scripts: Scripts = json.loads(Path(os.environ[SCRIPTS]).read_text())
    return scripts


if __name__ == "__main__":
    sys.exit(main(lambda settings: ScriptedEngine(sglang_options(settings))))
