#!/usr/bin/env bash
# What Codex makes of a failed request to the Responses API. npm: @openai/codex 0.171.0.
#
# A server answers every request with the same failure. One would expect a few attempts for a server's error and
# its message in the end, and that a stream which ends with OpenAI's own event `error` has the effect of one that
# ends with `response.failed`. Seen instead:
#   - a 500 is asked for 30 times, and its message is replaced by a sentence about high demand;
#   - a 404 is asked for 6 times, but once where the error's code is model_not_found;
#   - an `error` event is skipped: the stream counts as cut, and its message is lost;
#   - `response.failed` with the code invalid_prompt, which is not tried again, shows the message.
# Output seen:
#   status 500: 30 requests, message lost
#   status 404: 6 requests, message shown
#   status 404, code model_not_found: 1 request, message shown
#   status 400: 1 request, message shown
#   stream, error event: 6 requests, message lost
#   stream, response.failed: 1 request, message shown
# Exits with 1 when that changes.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
npm install --silent --no-audit --no-fund --ignore-scripts @openai/codex@0.171.0

cat > probe.py <<'PY'
import json, os, subprocess, sys, tempfile, threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

CODEX = Path("node_modules/.bin/codex").resolve()
MESSAGE = "the teapot is empty"
CONFIG = """model = "m"
model_provider = "local"
approval_policy = "never"
sandbox_mode = "read-only"
check_for_update_on_startup = false
[analytics]
enabled = false
[model_providers.local]
name = "Local"
base_url = "http://127.0.0.1:%d/v1"
wire_api = "responses"
"""
RESPONSE = {"id": "resp_1", "object": "response", "created_at": 1, "model": "m", "output": [], "usage": None}

def error(code=None):
    return json.dumps({"error": {"message": MESSAGE, "type": "x", "param": None, "code": code}})

def stream(*events):
    begin = {"type": "response.created", "response": {**RESPONSE, "status": "in_progress"}}
    return "".join(f"data: {json.dumps(event)}\n\n" for event in (begin, *events))

FAILED = {**RESPONSE, "status": "failed", "error": {"code": "invalid_prompt", "message": MESSAGE}}
CASES = {
    "status 500": (500, error()),
    "status 404": (404, error()),
    "status 404, code model_not_found": (404, error("model_not_found")),
    "status 400": (400, error()),
    "stream, error event": (200, stream({"type": "error", "code": "x", "message": MESSAGE, "param": None})),
    "stream, response.failed": (200, stream({"type": "response.failed", "response": FAILED})),
}

def run(status, body):
    """The number of requests, and what Codex printed."""
    seen = []

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *args):
            pass

        def do_POST(self):
            self.rfile.read(int(self.headers["content-length"]))
            seen.append(self.path)
            self.send_response(status)
            self.send_header("content-type", "text/event-stream" if status == 200 else "application/json")
            self.send_header("content-length", str(len(body)))
            self.send_header("retry-after", "1")
            self.end_headers()
            self.wfile.write(body.encode())

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    with tempfile.TemporaryDirectory() as home:
        (Path(home) / ".codex").mkdir()
        (Path(home) / ".codex/config.toml").write_text(CONFIG % server.server_port)
        proxies = {name: "http://127.0.0.1:1" for name in ("HTTP_PROXY", "HTTPS_PROXY")}
        environment = {"HOME": home, "PATH": os.environ["PATH"], "NO_PROXY": "127.0.0.1", **proxies}
        command = [CODEX, "exec", "--skip-git-repo-check", "hello"]
        done = subprocess.run(command, cwd=home, env=environment, stdin=subprocess.DEVNULL, timeout=120,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    server.shutdown()
    return len(seen), done.stdout

for name, (status, body) in CASES.items():
    count, output = run(status, body)
    requests = "1 request" if count == 1 else f"{count} requests"
    print(f"{name}: {requests}, message {'shown' if MESSAGE in output else 'lost'}", flush=True)
PY
python3 probe.py | tee seen
diff seen - <<'EXPECTED'
status 500: 30 requests, message lost
status 404: 6 requests, message shown
status 404, code model_not_found: 1 request, message shown
status 400: 1 request, message shown
stream, error event: 6 requests, message lost
stream, response.failed: 1 request, message shown
EXPECTED
