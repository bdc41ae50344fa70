#!/usr/bin/env bash
# grpc.aio hands an application None for a message that its deserializer refuses, and goes on. PyPI: grpcio 1.85.1.
#
# A server streams three messages; the client's deserializer raises for the second one. One would expect the
# call to fail with INTERNAL, as the synchronous API of the same package does ("Exception deserializing
# response!"). Seen instead with grpc.aio: read() returns None for that message, later ones follow, the call
# ends with OK, and all that tells of it is a traceback in the log. A unary call returns None in the same way.
# Output seen:
#   sync stream: [b'one'] then INTERNAL
#   aio stream: [b'one', None, b'three'] then OK
#   aio unary: None then OK
# Exits with 1 when that changes.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv venv
venv/bin/pip install --quiet grpcio==1.85.1

cat > show.py <<'PY'
import asyncio, logging
from concurrent.futures import ThreadPoolExecutor

import grpc

logging.disable(logging.CRITICAL)


def deserialize(data):
    if data == b"two":
        raise ValueError("this message cannot be read")
    return data


def handlers():
    def stream(request, context):
        yield from (b"one", b"two", b"three")

    methods = {
        "Stream": grpc.unary_stream_rpc_method_handler(stream),
        "Unary": grpc.unary_unary_rpc_method_handler(lambda request, context: b"two"),
    }
    return grpc.method_handlers_generic_handler("t.S", methods)


def sync_stream(address):
    with grpc.insecure_channel(address) as channel:
        call = channel.unary_stream("/t.S/Stream", response_deserializer=deserialize)(b"")
        seen = []
        try:
            for message in call:
                seen.append(message)
        except grpc.RpcError:
            pass
        return f"sync stream: {seen} then {call.code().name}"


async def aio(address):
    async with grpc.aio.insecure_channel(address) as channel:
        call = channel.unary_stream("/t.S/Stream", response_deserializer=deserialize)(b"")
        seen = []
        while (message := await call.read()) is not grpc.aio.EOF:
            seen.append(message)
        yield f"aio stream: {seen} then {(await call.code()).name}"
        call = channel.unary_unary("/t.S/Unary", response_deserializer=deserialize)(b"")
        answer = await call
        yield f"aio unary: {answer} then {(await call.code()).name}"


async def aio_lines(address):
    return [line async for line in aio(address)]


server = grpc.server(ThreadPoolExecutor(2))
server.add_generic_rpc_handlers((handlers(),))
address = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
server.start()
print(sync_stream(address))
print("\n".join(asyncio.run(aio_lines(address))))
server.stop(None)
PY
seen=$(venv/bin/python show.py)
echo "$seen"
expected="sync stream: [b'one'] then INTERNAL
aio stream: [b'one', None, b'three'] then OK
aio unary: None then OK"
[ "$seen" = "$expected" ]
