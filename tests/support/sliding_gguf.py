"""A real GGUF whose layers have sliding windows, with random weights: small enough to be made by a test."""

from __future__ import annotations

from pathlib import Path

import numpy
from gguf import GGUFWriter

from tests.support.scripted_gguf import byte_level

WINDOW = 32
# The sixth layer of a Gemma 3 sees everything.
_LAYERS = 6
_EMBEDDING = 64
_FEED_FORWARD = 64
_HEADS, _KV_HEADS, _HEAD = 2, 1, 32
_TEMPLATE = """\
{%- for message in messages %}<|im_start|>{{ message.role }}
{{ message.content }}<|im_end|>
{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant
{% endif %}"""


def write_sliding_gguf(path: Path) -> None:
    vocabulary = byte_level()
    random = numpy.random.default_rng(7)
    writer = GGUFWriter(path, "gemma3")
    writer.add_context_length(2048)
    writer.add_embedding_length(_EMBEDDING)
    writer.add_block_count(_LAYERS)
    writer.add_feed_forward_length(_FEED_FORWARD)
    writer.add_head_count(_HEADS)
    writer.add_head_count_kv(_KV_HEADS)
    writer.add_key_length(_HEAD)
    writer.add_value_length(_HEAD)
    writer.add_layer_norm_rms_eps(1e-6)
    writer.add_sliding_window(WINDOW)
    writer.add_vocab_size(len(vocabulary.tokens))
    writer.add_token_list(vocabulary.tokens)
    writer.add_token_types(vocabulary.kinds)
    vocabulary.add(writer)
    writer.add_chat_template(_TEMPLATE)

    def add(name: str, *shape: int) -> None:
        writer.add_tensor(f"{name}.weight", random.normal(0, 0.1, shape).astype(numpy.float32))

    add("token_embd", len(vocabulary.tokens), _EMBEDDING)
    add("output_norm", _EMBEDDING)
    for layer in range(_LAYERS):
        for name, shape in _LAYER.items():
            add(f"blk.{layer}.{name}", *shape)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


_LAYER = {
    **dict.fromkeys(("attn_norm", "post_attention_norm", "ffn_norm", "post_ffw_norm"), (_EMBEDDING,)),
    **dict.fromkeys(("attn_q_norm", "attn_k_norm"), (_HEAD,)),
    "attn_q": (_HEADS * _HEAD, _EMBEDDING),
    **dict.fromkeys(("attn_k", "attn_v"), (_KV_HEADS * _HEAD, _EMBEDDING)),
    "attn_output": (_EMBEDDING, _HEADS * _HEAD),
    **dict.fromkeys(("ffn_gate", "ffn_up"), (_FEED_FORWARD, _EMBEDDING)),
    "ffn_down": (_EMBEDDING, _FEED_FORWARD),
}
