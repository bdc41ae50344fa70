"""Processes that a worker starts while gRPC works in its threads, as it does whenever a frontend is there."""

from __future__ import annotations

import subprocess
import sys

from tests.support.processes import ROOT

_PROGRAM = """
import asyncio, os
import engine_worker
import grpc, uvloop

STARTS = 40

class Endless(grpc.GenericRpcHandler):
    def service(self, details):
        return grpc.unary_stream_rpc_method_handler(self.stream)

    async def stream(self, request, context):
        while True:
            yield b"x"

async def read(channel):
    async for _ in channel.unary_stream("/a/b")(b""):
        pass

async def main():
    server = grpc.aio.server()
    server.add_generic_rpc_handlers((Endless(),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    channel = grpc.aio.insecure_channel(f"127.0.0.1:{port}")
    readers = [asyncio.create_task(read(channel)) for _ in range(4)]
    ended = []
    for _ in range(STARTS):
        process = await asyncio.create_subprocess_exec("/bin/true", start_new_session=True)
        ended.append(await process.wait())
    assert not any(reader.done() for reader in readers)
    print(sum(status != 0 for status in ended), flush=True)
    os._exit(0)

uvloop.run(main())
"""


def test_no_process_dies_of_grpcs_handlers_of_forks() -> None:
    ran = subprocess.run(
        [sys.executable, "-c", _PROGRAM], cwd=ROOT, capture_output=True, text=True, timeout=60, check=True
    )
    assert (ran.stdout, ran.stderr) == ("0\n", "")
