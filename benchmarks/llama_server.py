"""llama-server of the installed xllamacpp with its own defaults, the yardstick of `make bench-llamacpp`.

`python -m benchmarks.llama_server GGUF SLOTS` prints its URL and lives until its input ends. SLOTS streams
run at once, each with 1,024 tokens of context; everything else is llama-server's default (threads,
batch sizes, how threads wait).
"""

from __future__ import annotations

import os
import sys

CONTEXT_TOKENS = 1024


def main(model_path: str, slots: int) -> None:
    import xllamacpp

    params = xllamacpp.CommonParams()
    params.model.path = model_path
    params.n_parallel = slots
    params.n_ctx = slots * CONTEXT_TOKENS
    params.n_threads_http = slots + 4
    params.ui = False
    params.hostnames = ["127.0.0.1"]
    params.port = 0
    params.verbosity = -1
    # llama.cpp writes to standard output too.
    with os.fdopen(os.dup(sys.stdout.fileno()), "w") as answer:
        os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
        server = xllamacpp.Server(params)
        print(server.listening_address, file=answer, flush=True)
        sys.stdin.read()
    os._exit(0)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
