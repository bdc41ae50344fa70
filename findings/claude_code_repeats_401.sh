#!/usr/bin/env bash
# Claude Code sends a request that got 401 again and again. npm: @anthropic-ai/claude-code 2.1.332.
#
# A server refuses every request with 401 and an `authentication_error`, and the token comes from
# ANTHROPIC_AUTH_TOKEN, which no second attempt can change. One would expect one request and the message, as from
# Anthropic's SDK, which repeats no 401. Seen instead: request after request, for longer than 20 seconds, with nothing
# shown meanwhile. With the header `x-should-retry: false` there is one request, and the message is shown.
# Output seen:
#   401: 6 requests in 20 seconds, still running
#   401 with x-should-retry: 1 request, message shown
# Exits with 1 when that changes.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
npm install --silent --no-audit --no-fund --ignore-scripts @anthropic-ai/claude-code@2.1.332

cat > probe.py <<'PY'
import json, os, subprocess, sys, threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

CLAUDE = ["node", "node_modules/@anthropic-ai/claude-code/cli-wrapper.cjs", "-p", "Say hello."]
MESSAGE = "the teapot knows no such token"
ERROR = json.dumps({"type": "error", "error": {"type": "authentication_error", "message": MESSAGE}})


def run(headers):
    """The number of requests, and what was printed; None if it had not ended after 20 seconds."""
    seen = []

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *args):
            pass

        def do_POST(self):
            self.rfile.read(int(self.headers["content-length"]))
            seen.append(self.path)
            self.send_response(401)
            for name, value in {"content-type": "application/json", **headers}.items():
                self.send_header(name, value)
            self.send_header("content-length", str(len(ERROR)))
            self.end_headers()
            self.wfile.write(ERROR.encode())

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    own = {
        "ANTHROPIC_BASE_URL": f"http://127.0.0.1:{server.server_port}", "ANTHROPIC_AUTH_TOKEN": "any",
        "ANTHROPIC_MODEL": "m", "ANTHROPIC_SMALL_FAST_MODEL": "m", "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
        "DISABLE_AUTOUPDATER": "1", "IS_SANDBOX": "1", "NO_PROXY": "127.0.0.1", "HOME": os.getcwd(),
    }
    try:
        ended = subprocess.run(
            CLAUDE, env={"PATH": os.environ["PATH"], **own}, stdin=subprocess.DEVNULL, capture_output=True,
            text=True, timeout=20,
        )
        printed = ended.stdout + ended.stderr
    except subprocess.TimeoutExpired:
        printed = None
    server.shutdown()
    return len(seen), printed


plain, printed = run({})
print(f"401: {plain} requests in 20 seconds, {'still running' if printed is None else 'ended'}")
marked, shown = run({"x-should-retry": "false"})
print(f"401 with x-should-retry: {marked} request, message {'shown' if MESSAGE in (shown or '') else 'lost'}")
sys.exit(not (plain > 2 and printed is None and marked == 1 and MESSAGE in (shown or "")))
PY
python3 probe.py
