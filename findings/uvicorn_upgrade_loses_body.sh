#!/usr/bin/env bash
# uvicorn with httptools gives an application an empty body when the client offers an upgrade that is not taken.
#
# Versions: uvicorn 0.54.0, httptools 0.9.0, h11 0.16.0, Python 3.11.
# RFC 9110 (7.8) lets a server ignore `Upgrade`; the request is then one like any other. Java's HttpClient sends
# `Upgrade: h2c` with each first request (so Spring AI and LangChain4j do), and curl does with --http2.
# Expected: POST with 11 bytes and `Upgrade: h2c` arrives with its 11 bytes.
# Seen with httptools: 200, and the application has read 0 bytes, with Content-Length and chunked; uvicorn logs
#   "Unsupported upgrade request." and serves the request all the same. With h11 the body is whole.
# Output seen:
#   httptools content-length: plain 11, with Upgrade 0
#   httptools chunked: plain 11, with Upgrade 0
#   h11 content-length: plain 11, with Upgrade 11
#   h11 chunked: plain 11, with Upgrade 11
# Exits with 1 when that changes.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet uvicorn==0.54.0 httptools==0.9.0 h11==0.16.0

cat > "$work/show.py" <<'PY'
import asyncio
import logging
import socket

import uvicorn

logging.disable(logging.CRITICAL)
BODY = b"hello world"
FRAMED = {
    "content-length": b"content-length: 11\r\n\r\n" + BODY,
    "chunked": b"transfer-encoding: chunked\r\n\r\nb\r\n" + BODY + b"\r\n0\r\n\r\n",
}


async def count(scope, receive, send):
    size, more = 0, True
    while more:
        message = await receive()
        size, more = size + len(message.get("body", b"")), message.get("more_body", False)
    text = b"%d" % size
    headers = [(b"content-length", b"%d" % len(text)), (b"connection", b"close")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": text})


async def ask(port, framed, upgrade):
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"POST / HTTP/1.1\r\nhost: x\r\n" + upgrade + framed)
    answer = await asyncio.wait_for(reader.read(), 10)
    writer.close()
    assert answer.startswith(b"HTTP/1.1 200"), answer
    return answer.rpartition(b"\r\n\r\n")[2].decode()


async def main():
    for implementation in ("httptools", "h11"):
        listener = socket.create_server(("127.0.0.1", 0))
        config = uvicorn.Config(count, http=implementation, lifespan="off", log_config=None)
        server = uvicorn.Server(config)
        task = asyncio.create_task(server.serve(sockets=[listener]))
        while not server.started:
            await asyncio.sleep(0.01)
        port = listener.getsockname()[1]
        upgrade = b"connection: Upgrade, HTTP2-Settings\r\nupgrade: h2c\r\nhttp2-settings: AAMAAABk\r\n"
        for name, framed in FRAMED.items():
            plain, offered = await ask(port, framed, b""), await ask(port, framed, upgrade)
            print(f"{implementation} {name}: plain {plain}, with Upgrade {offered}")
        server.should_exit = True
        await task


asyncio.run(main())
PY
seen=$("$work/venv/bin/python" "$work/show.py")
echo "$seen"
expected="httptools content-length: plain 11, with Upgrade 0
httptools chunked: plain 11, with Upgrade 0
h11 content-length: plain 11, with Upgrade 11
h11 chunked: plain 11, with Upgrade 11"
[ "$seen" = "$expected" ]
