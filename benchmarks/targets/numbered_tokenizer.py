"""Files of a Hugging Face tokenizer of the numbered tokens, for a gateway that makes text itself."""

from __future__ import annotations

import json
from pathlib import Path

from benchmarks.client.numbered import TOKENS

VOCABULARY = len(TOKENS)
_UNKNOWN = "[UNK]"
_TEMPLATE = "{% for message in messages %}{{ message['content'] }}\n{% endfor %}"


def write_tokenizer(folder: Path) -> Path:
    """Write the files. Other text is an unknown token; tokens are joined without spaces."""
    folder.mkdir(exist_ok=True)
    vocabulary = {text: number for number, text in enumerate((*TOKENS, _UNKNOWN))}
    tokenizer: dict[str, object] = {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [],
        "normalizer": None,
        "pre_tokenizer": {"type": "Whitespace"},
        "post_processor": None,
        "decoder": {"type": "Fuse"},
        "model": {"type": "WordLevel", "vocab": vocabulary, "unk_token": _UNKNOWN},
    }
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer), encoding="utf-8")
    settings = {"tokenizer_class": "PreTrainedTokenizerFast", "chat_template": _TEMPLATE}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings), encoding="utf-8")
    model = {"model_type": "llama", "architectures": ["LlamaForCausalLM"]}
    (folder / "config.json").write_text(json.dumps(model), encoding="utf-8")
    return folder
