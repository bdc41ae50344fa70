"""The model's tokenizer: text to ids and back, and the exact bytes of each token."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from sglang.srt.parser.code_completion_parser import completion_templates, generate_completion_prompt
from xgrammar import TokenizerInfo

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


class Vocabulary:
    """The vocabulary of one model. Blocking: call it in a thread for long texts."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase, size: int) -> None:
        self._tokenizer = tokenizer
        self._size = size
        self._bytes = _token_bytes(tokenizer, size)
        self._special = frozenset(
            token for token, added in tokenizer.added_tokens_decoder.items() if added.special
        )
        self._fill_in = _fill_in_template(tokenizer)

    @property
    def size(self) -> int:
        return self._size

    @property
    def can_fill_in(self) -> bool:
        """Whether there are tokens for a gap between a beginning and an end."""
        return self._fill_in is not None

    @property
    def has_bytes(self) -> bool:
        """Whether the bytes of tokens are known exactly; a token may hold part of a character."""
        return self._bytes is not None

    def bytes_of(self, token: int) -> bytes:
        if self._bytes is None:
            return self.decode([token]).encode()
        return self._bytes[token] if token < len(self._bytes) else b""

    def is_special(self, token: int) -> bool:
        return token in self._special

    def encode(self, text: str, add_special: bool) -> list[int]:
        return list(self._tokenizer.encode(text, add_special_tokens=add_special))

    def decode(self, ids: Sequence[int]) -> str:
        return str(
            self._tokenizer.decode(
                list(ids),
                skip_special_tokens=False,
                clean_up_tokenization_spaces=False,
                spaces_between_special_tokens=False,
            )
        )

    def without_beginning(self, ids: list[int]) -> list[int]:
        """Without the token that begins every prompt, for text that continues another."""
        beginning = self._tokenizer.bos_token_id
        return ids[1:] if ids and beginning is not None and ids[0] == beginning else ids

    def fill_in(self, prefix: str, suffix: str) -> str:
        """The prompt for what stands between the two."""
        assert self._fill_in is not None
        return str(generate_completion_prompt(prefix, suffix, self._fill_in))


def _token_bytes(tokenizer: PreTrainedTokenizerBase, size: int) -> Sequence[bytes] | None:
    """As SGLang's grammars know them; None for the tokenizers that they cannot work with."""
    try:
        if hasattr(tokenizer, "init_xgrammar"):
            info, _ = tokenizer.init_xgrammar()
        else:
            info = TokenizerInfo.from_huggingface(tokenizer, vocab_size=size)
    except (ValueError, TypeError, RuntimeError, AttributeError, NotImplementedError):
        return None
    return None if info is None else list(info.decoded_vocab)


def _fill_in_template(tokenizer: PreTrainedTokenizerBase) -> str | None:
    """SGLang's template whose tokens this vocabulary has."""
    known = tokenizer.get_vocab()
    for name, template in completion_templates.items():
        tokens = (template.fim_begin_token, template.fim_middle_token, template.fim_end_token)
        if all(token in known for token in tokens):
            return str(name)
    return None
