"""A real GGUF, small enough to be made by a test, whose greedy answers are known.

A llama with one layer that adds nothing: the next token depends on the last one alone. Its tokenizer is the
beginning of SmolLM2's.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy
from gguf import GGUFReader, GGUFWriter, TokenType

from engine_worker import default_model

THINKING_AND_TOOLS = (Path(__file__).parent / "thinking_and_tools.jinja").read_text()
MARKUP = ("<think>", "</think>", "<tool_call>", "</tool_call>")
EOS = "<|im_end|>"
CONTEXT_LENGTH = 2048
_TOKENS = 4096
_WITHOUT_MERGE = 17 + 256  # special tokens and bytes
_EMBEDDING = 128
_FEED_FORWARD = 32
_HEADS = 2
_WHITE_SPACE = "ĠĊĉč"


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """`add`: writes all of the tokenizer but the lists of tokens and their types."""

    tokens: Sequence[str]
    kinds: Sequence[int]
    add: Callable[[GGUFWriter], None]


def write_scripted_gguf(path: Path, template: str, *scripts: Sequence[str]) -> None:
    """A script is a run of tokens as the vocabulary writes them: after the first one the model says the
    second, and so on. Where two scripts disagree the earlier one wins, unless a grammar or a logit bias
    forbids it. Where no script says anything all tokens are alike, but white space is the last choice.
    """
    write_scripted(path, template, byte_level(), scripts)


def write_scripted(
    path: Path,
    template: str,
    vocabulary: Vocabulary,
    scripts: Sequence[Sequence[str]],
    more: Callable[[GGUFWriter], None] = lambda writer: None,
) -> None:
    """`more`: writes further metadata."""
    embeddings, output = _weights(vocabulary.tokens, scripts)
    writer = GGUFWriter(path, "llama")
    writer.add_context_length(CONTEXT_LENGTH)
    writer.add_embedding_length(_EMBEDDING)
    writer.add_block_count(1)
    writer.add_feed_forward_length(_FEED_FORWARD)
    writer.add_head_count(_HEADS)
    writer.add_head_count_kv(_HEADS)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_vocab_size(len(vocabulary.tokens))
    writer.add_token_list(vocabulary.tokens)
    writer.add_token_types(vocabulary.kinds)
    vocabulary.add(writer)
    more(writer)
    writer.add_chat_template(template)
    writer.add_tensor("token_embd.weight", embeddings)
    writer.add_tensor("output.weight", output)
    for name, shape in _SILENT_LAYER.items():
        writer.add_tensor(f"blk.0.{name}.weight", numpy.zeros(shape, numpy.float32))
    for name in ("blk.0.attn_norm", "blk.0.ffn_norm", "output_norm"):
        writer.add_tensor(f"{name}.weight", numpy.ones(_EMBEDDING, numpy.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def byte_level() -> Vocabulary:
    reader = GGUFReader(default_model.gguf_path())
    tokens = [*reader.fields["tokenizer.ggml.tokens"].contents()[:_TOKENS], *MARKUP]
    kinds = reader.fields["tokenizer.ggml.token_type"].contents()[:_TOKENS]
    merges = reader.fields["tokenizer.ggml.merges"].contents()[: _TOKENS - _WITHOUT_MERGE]

    def add(writer: GGUFWriter) -> None:
        writer.add_tokenizer_model("gpt2")
        writer.add_tokenizer_pre("smollm")
        writer.add_token_merges(merges)
        writer.add_bos_token_id(tokens.index("<|im_start|>"))
        writer.add_eos_token_id(tokens.index(EOS))
        writer.add_add_bos_token(False)

    return Vocabulary(tokens, [*kinds, *[TokenType.USER_DEFINED] * len(MARKUP)], add)


_SILENT_LAYER = {
    **dict.fromkeys(("attn_q", "attn_k", "attn_v", "attn_output"), (_EMBEDDING, _EMBEDDING)),
    **dict.fromkeys(("ffn_gate", "ffn_up"), (_FEED_FORWARD, _EMBEDDING)),
    "ffn_down": (_EMBEDDING, _FEED_FORWARD),
}

Matrix = numpy.typing.NDArray[numpy.float32]


def _weights(tokens: Sequence[str], scripts: Sequence[Sequence[str]]) -> tuple[Matrix, Matrix]:
    """Each token of a script has a dimension of its own; dimension 0, which all tokens have, is the bias."""
    row = {token: at for at, token in enumerate(tokens)}
    dimension = {token: at for at, token in enumerate(dict.fromkeys(t for s in scripts for t in s), start=1)}
    embeddings = numpy.zeros((len(tokens), _EMBEDDING), numpy.float32)
    output = numpy.zeros((len(tokens), _EMBEDDING), numpy.float32)
    embeddings[:, 0] = 1
    for token, at in dimension.items():
        embeddings[row[token], at] = 1
    for token, at in row.items():
        if not token.strip(_WHITE_SPACE):
            output[at, 0] = -1
    for rank, script in enumerate(scripts):
        for token, following in pairwise(script):
            cell = output[row[following], dimension[token] : dimension[token] + 1]
            numpy.maximum(cell, 1 / 2**rank + 1, out=cell)
    return embeddings, output
