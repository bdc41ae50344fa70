#!/usr/bin/env bash
# llama.cpp answers a JSON schema with free text where a SentencePiece vocabulary puts a space before text.
#
# Versions: xllamacpp 2026.10.11549 (llama.cpp b11549, built with llguidance), gguf 0.19.0, Python 3.11.
# Expected: /completion with `json_schema` keeps the schema, or refuses the request.
# Seen: 200 and unconstrained text. The log line is "Parser Error: token "…" doesn't satisfy the grammar; forced
#   bytes: got '{'": what a grammar forces is tokenised with the space that `tokenizer.ggml.add_space_prefix` (true
#   unless the file says otherwise: Llama 2, Mistral 7B, TinyLlama, Phi-3) puts in front, so that the token which is
#   forced is "▁"; the grammar then refuses that token, and the sampler goes on without the grammar.
#   The same model with add_space_prefix = false keeps the schema, and so does a GBNF grammar with either.
# Exits with 0 while it is so, and with 1 when it has changed.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet xllamacpp==2026.10.11549 gguf==0.19.0

cat > "$folder/try.py" <<'PYTHON'
import json
import sys
import urllib.request

import numpy
import xllamacpp
from gguf import GGUFWriter, TokenType

SCHEMA = {"type": "object", "properties": {"a": {"enum": ["b"]}}, "required": ["a"], "additionalProperties": False}
SIZE, FEED = 64, 32


def write(path: str, space_prefix: bool) -> None:
    """A llama with one silent layer; all its tokens are equally likely."""
    special = ["<unk>", "<s>", "</s>"]
    pieces = ["▁", *map(chr, range(33, 127)), "▁a", "▁b"]
    tokens = [*special, *(f"<0x{byte:02X}>" for byte in range(256)), *pieces]
    writer = GGUFWriter(path, "llama")
    writer.add_context_length(256)
    writer.add_embedding_length(SIZE)
    writer.add_block_count(1)
    writer.add_feed_forward_length(FEED)
    writer.add_head_count(1)
    writer.add_head_count_kv(1)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_vocab_size(len(tokens))
    writer.add_tokenizer_model("llama")
    writer.add_token_list(tokens)
    writer.add_token_types(
        [TokenType.UNKNOWN, TokenType.CONTROL, TokenType.CONTROL]
        + [TokenType.BYTE] * 256
        + [TokenType.NORMAL] * len(pieces)
    )
    writer.add_token_scores([0.0] * 259 + [float(len(piece)) for piece in pieces])
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_unk_token_id(0)
    writer.add_add_space_prefix(space_prefix)
    zeros = {"attn_q": (SIZE, SIZE), "attn_k": (SIZE, SIZE), "attn_v": (SIZE, SIZE), "attn_output": (SIZE, SIZE)}
    zeros |= {"ffn_gate": (FEED, SIZE), "ffn_up": (FEED, SIZE), "ffn_down": (SIZE, FEED)}
    for name, shape in zeros.items():
        writer.add_tensor(f"blk.0.{name}.weight", numpy.zeros(shape, numpy.float32))
    for name in ("blk.0.attn_norm", "blk.0.ffn_norm", "output_norm"):
        writer.add_tensor(f"{name}.weight", numpy.ones(SIZE, numpy.float32))
    for name in ("token_embd", "output"):
        writer.add_tensor(f"{name}.weight", numpy.ones((len(tokens), SIZE), numpy.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def answer(path: str) -> str:
    params = xllamacpp.CommonParams()
    params.model.path = path
    params.n_parallel, params.n_ctx, params.cpuparams.n_threads = 1, 256, 1
    params.hostnames, params.port, params.ui = ["127.0.0.1"], 0, False
    server = xllamacpp.Server(params)
    body = {"prompt": "x", "n_predict": 48, "temperature": 1, "seed": 3, "json_schema": SCHEMA}
    request = urllib.request.Request(
        f"{server.listening_address}/completion", json.dumps(body).encode(), {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request) as response:
        return json.load(response)["content"]


folder = sys.argv[1]
kept = {}
for space_prefix in (True, False):
    path = f"{folder}/{space_prefix}.gguf"
    write(path, space_prefix)
    text = answer(path)
    kept[space_prefix] = text.lstrip().startswith("{")
    print(f"add_space_prefix={space_prefix}: {text!r}", flush=True)
sys.exit(0 if kept == {True: False, False: True} else 1)
PYTHON

"$folder/venv/bin/python" "$folder/try.py" "$folder" 2>/dev/null
