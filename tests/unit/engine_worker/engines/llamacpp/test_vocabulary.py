"""The tokens of real vocabularies that end inside a character."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
from gguf import GGUFReader, GGUFWriter

from engine_worker import default_model
from engine_worker.engines.llamacpp.vocabulary import Vocabulary
from tests.support.sentencepiece_gguf import answer_ids, write_sentencepiece_gguf


@pytest.fixture(scope="module")
def byte_level() -> Vocabulary:
    return Vocabulary.of(GGUFReader(default_model.gguf_path()))


@pytest.fixture(scope="module")
def sentencepiece(tmp_path_factory: pytest.TempPathFactory) -> Vocabulary:
    path: Path = tmp_path_factory.mktemp("vocabulary") / "m.gguf"
    write_sentencepiece_gguf(path)
    return Vocabulary.of(GGUFReader(path))


def test_byte_level_tokens_have_their_bytes(byte_level: Vocabulary) -> None:
    last = byte_level.partial[b"\x9f"]
    split = byte_level.before(last, "🌟", 2, has_more=False)

    assert split is not None
    assert b"".join(byte_level.bytes_of[token] for token in split.ids) == split.data == "🌟".encode()[:3]
    assert byte_level.before(last, "🌟", 3, has_more=False) is not None
    assert byte_level.before(last, "🌟", 1, has_more=False) is None
    assert not byte_level.adds_space


def test_a_token_may_begin_before_its_character(byte_level: Vocabulary) -> None:
    split = byte_level.before(byte_level.partial[b"\x83"], " ☃", 2, has_more=False)

    assert split is not None
    assert byte_level.bytes_of[split.ids[0]] == b" \xe2"


def test_sentencepiece_has_a_token_for_each_byte(sentencepiece: Vocabulary) -> None:
    first, last = answer_ids(4)[2:]
    split = sentencepiece.before(last, "é", 1, has_more=False)

    assert split is not None
    assert split.ids == [first]
    assert sentencepiece.adds_space
    assert set(sentencepiece.hidden) == {0, 1, 2, 3, 4}


def test_text_of_earlier_tokens_may_stand_in_front(sentencepiece: Vocabulary) -> None:
    last = sentencepiece.partial[b"\xa9"]

    assert sentencepiece.before(last, "found é", 1, has_more=False) is None
    split = sentencepiece.before(last, "found é", 1, has_more=True)
    assert split is not None
    assert split.data == b"\xc3"


@pytest.mark.parametrize("text", ["", "e", "é!"])
def test_text_that_does_not_end_with_the_token_has_no_recovered_tokens(
    sentencepiece: Vocabulary, text: str
) -> None:
    assert sentencepiece.before(sentencepiece.partial[b"\xa9"], text, 1, has_more=False) is None


@pytest.mark.parametrize(("tokens", "kinds"), [([1, 2], [1, 1]), (["a", "b"], ["x", "y"]), ("ab", "ab")])
def test_what_is_no_vocabulary_is_refused(
    tmp_path: Path, tokens: Sequence[str], kinds: Sequence[int]
) -> None:
    path = tmp_path / "odd.gguf"
    writer = GGUFWriter(path, "llama")
    for key, values in (("tokens", tokens), ("token_type", kinds)):
        add = writer.add_string if isinstance(values, str) else writer.add_array
        add(f"tokenizer.ggml.{key}", values)  # type: ignore[arg-type]  # wrong on purpose
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.close()
    with pytest.raises(ValueError, match="no list of texts"):
        Vocabulary.of(GGUFReader(path))
