"""A worker whose engine makes tokens without limit and without pause: the next ones of a request are there as
soon as the ones before have left.

`python -m benchmarks.targets.unbounded_worker --tokens-a-row 1 FLAGS`: the flags of engine_worker with the
simulator, whose place its stub takes. An engine that made more than leaves would measure the text that waits,
not the relay; this one has as many rows in each step as requests have credit for.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
from dataclasses import dataclass

from benchmarks.client.numbered import token
from drover.v1 import engine_pb2 as pb
from engine_worker.__main__ import main
from engine_worker.engines import Engine, build_engine
from engine_worker.output.mailbox import Mailbox
from engine_worker.settings import WorkerSettings

# Between two steps, where most requests could get nothing: to look at them again and again would cost what is
# to be measured.
_PAUSE_SECONDS = 0.0005


@dataclass(eq=False, slots=True)
class _Stream:
    mailbox: Mailbox
    limit: int
    ended: asyncio.Future[None]
    made: int = 0


class Source:
    """`most_kept`: largest number of tokens that waited in all mailboxes together."""

    def __init__(self, tokens_a_row: int) -> None:
        self._tokens_a_row = tokens_a_row
        self._streams: dict[_Stream, None] = {}
        self._task: asyncio.Task[None] | None = None
        self.most_kept = 0

    async def generate(self, request: pb.GenerateRequest, mailbox: Mailbox) -> None:
        if self._task is None:
            self._task = asyncio.create_task(self._run(), name="source")
        mailbox.started(pb.Started(prompt_ids=[1]))
        ended = asyncio.get_running_loop().create_future()
        stream = _Stream(mailbox, request.sampling.max_tokens, ended)
        self._streams[stream] = None
        # The response to a worker's own warm-up is not read.
        self._make(stream)
        try:
            await ended
        finally:
            del self._streams[stream]

    def stop(self) -> None:
        if self._task is not None:
            self._task.cancel()

    def report(self) -> pb.LoadReport:
        return pb.LoadReport(running=len(self._streams), running_limit=4096, kv_tokens_used=self.most_kept)

    async def _run(self) -> None:
        while True:
            free = [stream for stream in self._streams if not stream.mailbox.ready]
            for stream in free:
                self._make(stream)
            waiting = sum(stream.mailbox.ready for stream in self._streams)
            self.most_kept = max(self.most_kept, waiting * self._tokens_a_row)
            await asyncio.sleep(0 if 2 * len(free) >= len(self._streams) else _PAUSE_SECONDS)

    def _make(self, stream: _Stream) -> None:
        if stream.ended.done():
            return
        for _ in range(min(self._tokens_a_row, stream.limit - stream.made)):
            text = token(stream.made)
            stream.made += 1
            stream.mailbox.content(text, (1,), stream.made)
        if stream.made >= stream.limit:
            done = pb.Done(finish_reason=pb.Done.LENGTH, prompt_tokens=1, completion_tokens=stream.made)
            stream.mailbox.done(done)
            stream.ended.set_result(None)


def build(tokens_a_row: int, settings: WorkerSettings) -> Engine:
    engine, source = build_engine(settings), Source(tokens_a_row)
    engine.generate = source.generate  # type: ignore[method-assign]  # replaced by an endless source
    engine.load_report = source.report  # type: ignore[method-assign]  # replaced by an endless source
    return engine


if __name__ == "__main__":
    parser = argparse.ArgumentParser(add_help=False)
    parser.add_argument("--tokens-a-row", type=int, default=1)
    asked, sys.argv[1:] = parser.parse_known_args()
    sys.exit(main(lambda settings: build(asked.tokens_a_row, settings)))
