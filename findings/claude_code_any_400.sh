#!/usr/bin/env bash
# Claude Code takes every 400 for a refusal of its beta features. npm: @anthropic-ai/claude-code 2.1.332.
#
# A server refuses one request with a plain `invalid_request_error` that names a sampling option, and takes
# everything else. One would expect one request and the server's message. Seen instead:
#   - the same request comes six times, without the repetition being counted in x-stainless-retry-count;
#   - each attempt leaves something else out: a beta header, then thinking.display, then deferred tools;
#   - if an attempt without deferred tools is taken, they stay off: ToolSearch is gone from the session's next
#     requests too and all tools are declared in full, so the beginning of the prompt is another one.
# Output seen:
#   always refused: 6 requests; tools 12 12 12 21 21 21; ToolSearch yes yes yes no no no
#   refused 3 times: 5 requests; tools 12 12 12 21 21; ToolSearch yes yes yes no no
# Exits with 1 when that changes.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
npm install --silent --no-audit --no-fund --ignore-scripts @anthropic-ai/claude-code@2.1.332

cat > server.py <<'PY'
"""argv: how many requests are refused, where the log goes, a command and its arguments."""
import json, os, subprocess, sys, threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

refused, log, command = int(sys.argv[1]), sys.argv[2], sys.argv[3:]
seen = []
ERROR = {"type": "error", "error": {"type": "invalid_request_error", "message": "temperature is out of range"}}

def block(start, delta):
    return [
        {"type": "content_block_start", "index": 0, "content_block": start},
        {"type": "content_block_delta", "index": 0, "delta": delta},
        {"type": "content_block_stop", "index": 0},
    ]

def answer(number):
    call = json.dumps({"command": "echo hello", "description": "Say hello"})
    if number == refused:
        reason, middle = "tool_use", block(
            {"type": "tool_use", "id": "call_1", "name": "Bash", "input": {}},
            {"type": "input_json_delta", "partial_json": call},
        )
    else:
        reason, middle = "end_turn", block({"type": "text", "text": ""}, {"type": "text_delta", "text": "Done."})
    message = {"id": "msg_1", "type": "message", "role": "assistant", "model": "m", "content": [],
               "stop_reason": None, "stop_sequence": None, "usage": {"input_tokens": 1, "output_tokens": 1}}
    end = {"type": "message_delta", "delta": {"stop_reason": reason, "stop_sequence": None}, "usage": {"output_tokens": 1}}
    return [{"type": "message_start", "message": message}, *middle, end, {"type": "message_stop"}]

class Handler(BaseHTTPRequestHandler):
    def log_message(self, *args):
        pass

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        number = len(seen)
        seen.append([tool["name"] for tool in body["tools"]])
        if number < refused:
            status, kind, data = 400, "application/json", json.dumps(ERROR)
        else:
            status, kind = 200, "text/event-stream"
            data = "".join(f"event: {e['type']}\ndata: {json.dumps(e)}\n\n" for e in answer(number))
        self.send_response(status)
        self.send_header("content-type", kind)
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        self.wfile.write(data.encode())

server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
threading.Thread(target=server.serve_forever, daemon=True).start()
own = {"ANTHROPIC_BASE_URL": f"http://127.0.0.1:{server.server_port}", "ANTHROPIC_AUTH_TOKEN": "any",
       "ANTHROPIC_MODEL": "m", "ANTHROPIC_SMALL_FAST_MODEL": "m", "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
       "DISABLE_AUTOUPDATER": "1", "IS_SANDBOX": "1", "NO_PROXY": "127.0.0.1", "HOME": os.getcwd()}
with open(log, "w") as output:
    subprocess.run(command, env={"PATH": os.environ["PATH"], **own}, stdin=subprocess.DEVNULL,
                   stdout=output, stderr=output, timeout=120)
print(f"{len(seen)} requests; tools {' '.join(str(len(names)) for names in seen)}; ToolSearch "
      + " ".join("yes" if "ToolSearch" in names else "no" for names in seen))
PY

claude=(node node_modules/@anthropic-ai/claude-code/cli-wrapper.cjs -p "Say hello." --allowedTools Bash)
always="always refused: $(python3 server.py 1000 always.log "${claude[@]}")"
thrice="refused 3 times: $(python3 server.py 3 thrice.log "${claude[@]}")"
printf '%s\n%s\n' "$always" "$thrice"
grep -q "API Error: 400 temperature is out of range" always.log
grep -q "Done." thrice.log
[ "$always" = "always refused: 6 requests; tools 12 12 12 21 21 21; ToolSearch yes yes yes no no no" ]
[ "$thrice" = "refused 3 times: 5 requests; tools 12 12 12 21 21; ToolSearch yes yes yes no no" ]
