#!/usr/bin/env bash
# llama.cpp reranks with a BERT cross-encoder as if query and document were one segment.
#
# Versions: xllamacpp 2026.10.11549 (llama.cpp b11549), gguf 0.19.0, Python 3.11.
# Expected: a BERT reads a pair as two segments: the tokens of the first text get row 0 of the segment embeddings
#   (`token_types.weight`, which the converter writes), those of the second text row 1. Cross-encoders like
#   ms-marco-MiniLM are trained so, and `transformers` computes so.
# Seen: /rerank adds row 0 to every token. Another row 1 changes no score; another row 0 changes them. So the scores
#   are not those of `transformers`, and documents may come in another order, without a warning.
#   XLM-RoBERTa (bge-reranker, jina-reranker-v2) has one segment and is not concerned.
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
from gguf import GGUFWriter, PoolingType, TokenType

SPECIALS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
WORDS = ["sheep", "eat", "grass", "a", "car", "is", "red"]
SIZE, FEED, POSITIONS = 64, 128, 64
QUERY, DOCUMENTS = "sheep eat", ["grass", "a car is red"]


def write(path: str, changed_row: int | None) -> None:
    """A BERT with one layer and a classifier with one label; `changed_row`: of its two segment embeddings."""
    dice = numpy.random.default_rng(7)

    def noise(*shape: int) -> numpy.ndarray:
        return (dice.standard_normal(shape) * 0.25).astype(numpy.float32)

    tensors = {"token_embd.weight": noise(len(SPECIALS + WORDS), SIZE), "position_embd.weight": noise(POSITIONS, SIZE)}
    tensors["token_types.weight"] = noise(2, SIZE)
    for name, shape in {"cls": (SIZE, SIZE), "cls.output": (1, SIZE)}.items():
        tensors |= {f"{name}.weight": noise(*shape), f"{name}.bias": noise(shape[0])}
    shapes = {part: (SIZE, SIZE) for part in ("attn_q", "attn_k", "attn_v", "attn_output")}
    for part, shape in (shapes | {"ffn_up": (FEED, SIZE), "ffn_down": (SIZE, FEED)}).items():
        tensors |= {f"blk.0.{part}.weight": noise(*shape), f"blk.0.{part}.bias": noise(shape[0])}
    for norm in ("token_embd_norm", "blk.0.attn_output_norm", "blk.0.layer_output_norm"):
        tensors |= {f"{norm}.weight": 1 + noise(SIZE), f"{norm}.bias": noise(SIZE)}
    if changed_row is not None:
        tensors["token_types.weight"][changed_row] *= -3

    writer = GGUFWriter(path, "bert")
    writer.add_context_length(POSITIONS)
    writer.add_embedding_length(SIZE)
    writer.add_feed_forward_length(FEED)
    writer.add_block_count(1)
    writer.add_head_count(2)
    writer.add_layer_norm_eps(1e-12)
    writer.add_causal_attention(False)
    writer.add_pooling_type(PoolingType.RANK)
    writer.add_tokenizer_model("bert")
    writer.add_token_list([*SPECIALS, *(f"\u2581{word}" for word in WORDS)])
    writer.add_token_types([TokenType.CONTROL] * len(SPECIALS) + [TokenType.NORMAL] * len(WORDS))
    writer.add_token_type_count(2)
    writer.add_pad_token_id(0)
    writer.add_unk_token_id(1)
    writer.add_bos_token_id(2)
    writer.add_eos_token_id(3)
    writer.add_sep_token_id(3)
    writer.add_add_bos_token(True)
    writer.add_add_eos_token(True)
    for name, tensor in tensors.items():
        writer.add_tensor(name, tensor)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def scores(path: str) -> list[float]:
    params = xllamacpp.CommonParams()
    params.model.path = path
    params.embedding = True
    params.pooling_type = xllamacpp.llama_pooling_type.LLAMA_POOLING_TYPE_RANK
    params.n_ctx = params.n_batch = params.n_ubatch = POSITIONS
    params.n_parallel = 1
    params.hostnames, params.port, params.verbosity = ["127.0.0.1"], 0, -1
    server = xllamacpp.Server(params)
    body = json.dumps({"query": QUERY, "documents": DOCUMENTS}).encode()
    request = urllib.request.Request(
        f"{server.listening_address}/rerank", body, {"content-type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=60) as answer:
        results = json.load(answer)["results"]
    return [round(each["relevance_score"], 3) for each in sorted(results, key=lambda each: each["index"])]


folder = sys.argv[1]
found = {}
for row in (None, 0, 1):
    write(f"{folder}/{row}.gguf", row)
    found[row] = scores(f"{folder}/{row}.gguf")
    print(f"changed segment embedding: {row}, scores: {found[row]}")
sys.exit(0 if found[None] == found[1] != found[0] else 1)
PYTHON

"$folder/venv/bin/python" "$folder/try.py" "$folder"
echo "llama.cpp still reads the second text of a pair as the first segment"
