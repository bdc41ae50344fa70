#!/usr/bin/env bash
# After a reset uvicorn keeps a connection for the whole keep-alive time. PyPI: uvicorn 0.54.0, httptools 0.9.0.
#
# A client has its whole answer and leaves: once it closes its connection, once it resets it, as programs do
# that close with unread bytes. One would expect that the server forgets both at once. Seen instead: the timer
# of an idle connection is cancelled only after a close. After a reset it goes on and holds the protocol, its
# parser and the last request until `timeout_keep_alive` is over, though the socket is gone and the connection
# is not counted any more: with a keep-alive time of minutes, as pooling clients want it, memory grows with
# each client that leaves so.
# Output seen:
#   closed: kept 0, counted 0
#   reset: kept 1, counted 0
# Exits with 1 when that changes.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv env
env/bin/pip install --quiet uvicorn==0.54.0 httptools==0.9.0

cat > try.py <<'PY'
import asyncio, gc, socket, struct

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol


async def app(scope, receive, send):
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
    await send({"type": "http.response.body", "body": b"ok"})


def kept(address):
    gc.collect()
    return sum(isinstance(each, HttpToolsProtocol) and each.client == address for each in gc.get_objects())


async def leave(server, port, reset):
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n")
    await reader.readuntil(b"ok")
    made = writer.get_extra_info("socket")
    address = made.getsockname()
    assert kept(address) == 1
    if reset:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()
    del reader, writer, made
    for _ in range(100):
        await asyncio.sleep(0.02)
        if not kept(address):
            break
    print(f"{'reset' if reset else 'closed'}: kept {kept(address)}, counted {len(server.server_state.connections)}")


async def main():
    server = uvicorn.Server(
        uvicorn.Config(app, http="httptools", ws="none", lifespan="off", log_level="error", timeout_keep_alive=60)
    )
    with socket.create_server(("127.0.0.1", 0)) as listener:
        serving = asyncio.create_task(server.serve(sockets=[listener]))
        while not server.started:
            await asyncio.sleep(0.01)
        for reset in (False, True):
            await leave(server, listener.getsockname()[1], reset)
        server.should_exit = True
        await serving


asyncio.run(main())
PY
env/bin/python try.py | tee seen
diff seen - <<'SEEN'
closed: kept 0, counted 0
reset: kept 1, counted 0
SEEN
