"""A real GGUF with a SentencePiece vocabulary, small enough to be made by a test.

Its answers go round and round through TEXT, whose é, ☃ and 🐑 are a token for each byte.
"""

from __future__ import annotations

from itertools import cycle, islice, product
from pathlib import Path
from string import ascii_lowercase

from gguf import GGUFWriter, TokenType

from tests.support.scripted_gguf import EOS, Vocabulary, write_scripted

TEXT = "The café by the ☃ sells one🐑 to all who ask"
TEMPLATE = """\
{%- for message in messages %}<|im_start|>{{ message.role }}
{{ message.content }}<|im_end|>
{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant
{% endif %}"""
_SPECIAL = ("<unk>", "<s>", "</s>", "<|im_start|>", EOS)
_SPACE = "▁"


def write_sentencepiece_gguf(path: Path, template: str = TEMPLATE) -> None:
    said = _tokens_of(TEXT)
    write_scripted(path, template, _vocabulary(), [["<0x0A>", *said, said[0]]])


def answer_ids(count: int) -> list[int]:
    """The tokens that every answer begins with."""
    row = {token: at for at, token in enumerate(_vocabulary().tokens)}
    return [row[token] for token in islice(cycle(_tokens_of(TEXT)), count)]


def _vocabulary() -> Vocabulary:
    byte_tokens = [f"<0x{byte:02X}>" for byte in range(256)]
    pieces = [_SPACE, *map(chr, range(ord("!"), ord("~") + 1))]
    for word in TEXT.split():
        pieces += [_SPACE + word[:length] for length in range(1, len(word) + 1) if word[:length].isascii()]
    pairs = ["".join(pair) for pair in product(ascii_lowercase, repeat=2)]
    pieces = list(dict.fromkeys([*pieces, *pairs, *(_SPACE + pair for pair in pairs)]))
    tokens = [*_SPECIAL, *byte_tokens, *pieces]
    kinds = [
        TokenType.UNKNOWN,
        *[TokenType.CONTROL] * (len(_SPECIAL) - 1),
        *[TokenType.BYTE] * 256,
        *[TokenType.NORMAL] * len(pieces),
    ]

    def add(writer: GGUFWriter) -> None:
        writer.add_tokenizer_model("llama")
        # Longer pieces come later and are merged first.
        writer.add_token_scores([0.0] * (len(tokens) - len(pieces)) + [float(len(piece)) for piece in pieces])
        writer.add_bos_token_id(tokens.index("<s>"))
        writer.add_eos_token_id(tokens.index(EOS))
        writer.add_unk_token_id(0)
        writer.add_add_bos_token(False)

    return Vocabulary(tokens, kinds, add)


def _tokens_of(text: str) -> list[str]:
    """A piece for each ASCII beginning of a word, and bytes for the rest."""
    tokens = []
    for word in text.split():
        head = next((word[:length] for length in range(len(word), 0, -1) if word[:length].isascii()), "")
        tokens += [_SPACE + head, *(f"<0x{byte:02X}>" for byte in word[len(head) :].encode())]
    return tokens
