"""What `model_info` of show has of a model in Hugging Face's layout, by the names of GGUF's metadata."""

from __future__ import annotations

from collections.abc import Mapping

import orjson

from engine_worker.engines.sglang.model_config import integer
from engine_worker.engines.sglang.model_files import ModelFiles

_INFO = {
    "context_length": "max_position_embeddings",
    "embedding_length": "hidden_size",
    "block_count": "num_hidden_layers",
    "feed_forward_length": "intermediate_size",
    "attention.head_count": "num_attention_heads",
    "attention.head_count_kv": "num_key_value_heads",
    "vocab_size": "vocab_size",
}


def metadata_json(family: str, basename: str, text: Mapping[str, object], files: ModelFiles) -> str:
    """`text`: the configuration of the part that reads text."""
    info: dict[str, object] = {
        "general.architecture": family,
        "general.basename": basename,
        "general.parameter_count": files.parameter_count,
    }
    for ours, theirs in _INFO.items():
        if value := integer(text, theirs):
            info[f"{family}.{ours}"] = value
    return orjson.dumps(info, option=orjson.OPT_SORT_KEYS).decode()
