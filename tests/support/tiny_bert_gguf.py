"""The model of tiny_bert.py as a GGUF, as llama.cpp's converter writes BERT with a classifier."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from gguf import GGUFWriter, PoolingType, TokenType

from tests.support import tiny_bert as tiny

_NAMES = {
    "bert.embeddings.word_embeddings": "token_embd",
    "bert.embeddings.position_embeddings": "position_embd",
    "bert.embeddings.token_type_embeddings": "token_types",
    "bert.embeddings.LayerNorm": "token_embd_norm",
    "attention.self.query": "attn_q",
    "attention.self.key": "attn_k",
    "attention.self.value": "attn_v",
    "attention.output.dense": "attn_output",
    "attention.output.LayerNorm": "attn_output_norm",
    "intermediate.dense": "ffn_up",
    "output.dense": "ffn_down",
    "output.LayerNorm": "layer_output_norm",
    "bert.pooler.dense": "cls",
    "classifier": "cls.output",
}
_LAYER = "bert.encoder.layer."


def write_tiny_bert_gguf(path: Path, labels: int = 1, names: Sequence[str] = ()) -> None:
    """`names`: of the labels; without them the file has none."""
    writer = GGUFWriter(path, "bert")
    writer.add_context_length(tiny.POSITIONS)
    writer.add_embedding_length(tiny.HIDDEN)
    writer.add_feed_forward_length(tiny.FEED_FORWARD)
    writer.add_block_count(tiny.LAYERS)
    writer.add_head_count(tiny.HEADS)
    writer.add_layer_norm_eps(tiny.EPSILON)
    writer.add_causal_attention(False)
    writer.add_pooling_type(PoolingType.RANK)
    if names:
        writer.add_classifier_output_labels(names)
    _add_tokenizer(writer)
    for name, array in tiny.weights(labels).items():
        writer.add_tensor(_gguf_name(name), array)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _add_tokenizer(writer: GGUFWriter) -> None:
    special = set(tiny.SPECIALS)
    writer.add_tokenizer_model("bert")
    writer.add_tokenizer_pre("default")
    writer.add_token_list([token if token in special else _written(token) for token in tiny.TOKENS])
    writer.add_token_types(
        [TokenType.CONTROL if token in special else TokenType.NORMAL for token in tiny.TOKENS]
    )
    writer.add_token_type_count(tiny.SEGMENTS)
    for add, token in (
        (writer.add_pad_token_id, "[PAD]"),
        (writer.add_unk_token_id, "[UNK]"),
        (writer.add_bos_token_id, "[CLS]"),
        (writer.add_eos_token_id, "[SEP]"),
        (writer.add_sep_token_id, "[SEP]"),
        (writer.add_mask_token_id, "[MASK]"),
    ):
        add(tiny.TOKENS.index(token))
    writer.add_add_bos_token(True)
    writer.add_add_sep_token(False)
    writer.add_add_eos_token(True)


def _written(token: str) -> str:
    """Where WordPiece marks the rest of a word, llama.cpp marks its beginning."""
    return token[2:] if token.startswith("##") else f"\u2581{token}"


def _gguf_name(name: str) -> str:
    module, _, kind = name.rpartition(".")
    if not module.startswith(_LAYER):
        return f"{_NAMES[module]}.{kind}"
    number, _, part = module.removeprefix(_LAYER).partition(".")
    return f"blk.{number}.{_NAMES[part]}.{kind}"
