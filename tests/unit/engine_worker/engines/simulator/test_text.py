from __future__ import annotations

from itertools import islice

import pytest

from engine_worker.engines.simulator.output import MAX_TOP
from engine_worker.engines.simulator.text import Book
from engine_worker.engines.simulator.tokens import Tokenizer, bytes_of

GOLDEN = "Hand calm shade bread flock run day every winter, early tall! It some iron leaf slow sand, wagon?"


def written(key: bytes, token_bytes: int = 3, tokens: int = 3000) -> bytes:
    book = Book(Tokenizer(token_bytes))
    return b"".join(piece.data for piece in islice(book.write(key), tokens))


def test_the_same_key_gives_the_same_text_from_every_book() -> None:
    assert written(b"one") == written(b"one")
    assert written(b"one") != written(b"two")


def test_a_key_always_meant_this_text() -> None:
    assert written(b"golden", tokens=40).decode() == GOLDEN


@pytest.mark.parametrize("token_bytes", [1, 2, 3])
def test_a_text_reads_back_as_the_tokens_that_made_it(token_bytes: int) -> None:
    tokenizer = Tokenizer(token_bytes)
    ids = [piece.ids[0] for piece in islice(Book(tokenizer).write(b"key"), 3000)]
    whole = tokenizer.decode(ids).rpartition(" ")[0]
    read = tokenizer.encode(whole)
    assert read == ids[: len(read)]
    assert len(read) > 2900


def test_pieces_carry_the_bytes_of_their_tokens() -> None:
    for piece in islice(Book(Tokenizer(2)).write(b"key"), 500):
        assert piece.data == bytes_of(piece.ids[0])


def test_a_long_text_has_sentences_paragraphs_and_characters_of_all_lengths() -> None:
    text = written(b"key").decode(errors="ignore")
    assert {len(character.encode()) for character in text} == {1, 2, 3, 4}
    assert ". " in text
    assert ", " in text
    assert "\n\n" in text
    assert "  " not in text


@pytest.mark.parametrize("token_bytes", [1, 2, 3])
def test_the_vocabulary_has_enough_alternatives(token_bytes: int) -> None:
    vocabulary = Book(Tokenizer(token_bytes)).vocabulary
    assert len(set(vocabulary)) == len(vocabulary) > MAX_TOP
