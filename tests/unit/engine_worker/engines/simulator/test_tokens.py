from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drover.errors import InvalidRequest
from engine_worker.engines.simulator.tokens import Tokenizer, bytes_of, bytes_of_all

TEXTS = st.text(alphabet=st.characters(exclude_categories=["Cs"]))


@given(TEXTS, st.integers(1, 3))
def test_text_comes_back_from_its_tokens(text: str, token_bytes: int) -> None:
    tokenizer = Tokenizer(token_bytes)
    ids = tokenizer.encode(text)
    assert tokenizer.decode(ids) == text
    assert all(1 <= len(bytes_of(token_id)) <= token_bytes for token_id in ids)


@given(TEXTS, TEXTS)
def test_a_prompts_lines_keep_their_tokens_whatever_follows(text: str, more: str) -> None:
    tokenizer = Tokenizer(3)
    assert tokenizer.encode(f"{text}\n{more}") == tokenizer.encode(f"{text}\n") + tokenizer.encode(more)


@pytest.mark.parametrize(
    ("text", "token_bytes", "tokens"),
    [
        ("the sheep", 3, [b"the", b" sh", b"eep"]),
        ("a.\n\n b", 3, [b"a", b".", b"\n", b"\n", b" b"]),
        ("🐑", 3, [b"\xf0\x9f\x90", b"\x91"]),
        ("世", 3, ["世".encode()]),
        ("世", 2, [b"\xe4\xb8", b"\x96"]),
        ("é", 1, [b"\xc3", b"\xa9"]),
    ],
)
def test_a_token_is_a_few_bytes_of_a_piece(text: str, token_bytes: int, tokens: list[bytes]) -> None:
    assert list(map(bytes_of, Tokenizer(token_bytes).encode(text))) == tokens


def test_part_of_a_character_reads_as_a_replacement_character() -> None:
    tokenizer = Tokenizer(3)
    assert tokenizer.decode(tokenizer.encode("🐑")[:1]) == "�"


@pytest.mark.parametrize("token_id", [0, 0x61, 0x01000100, 0x02010000, 0x04000000, 2**32 - 1])
def test_an_id_of_no_token_is_refused(token_id: int) -> None:
    with pytest.raises(InvalidRequest, match=f"^{token_id} is not the id of a token of this model$"):
        bytes_of_all([0x01000061, token_id])
