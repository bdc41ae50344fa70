"""Endless readable text that is a function of a key; vectors, relevance and classes that are one of texts."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator, Sequence
from hashlib import blake2b
from itertools import count

from engine_worker.engines.simulator.script import Piece
from engine_worker.engines.simulator.tokens import Tokenizer, bytes_of

_WORDS = """
a about across after all along among an and another any are as at autumn bakes bank barn be beam because
bell below beside between bird blue boat both bread bridge bright bring broad brook but by calm carries
castle city clear cloud coat cold comes corn could cross crow dark dawn day deep dog door down dream drover
dry dust each early earth east eat evening every far farm fast field fire first flock flows for forest from
full garden gate gentle glass goes grass great green grow half hand harbour has hear heavy hill hold home
honey horse house if in into iron is island it just keep kind lake lamb land last late leaf leads left light
like listens little long low market meadow milk mill moon more morning most moves narrow near never new
night north not now oak of old on one open or other our over path pine plain pond quiet rain reach red rest
ring rise river road roof room round run salt sand sea second seed shade sheep shepherd shore silver since
sky sleep slow small snow so some song south spring star stays steep still stone storm stream summer sun
sweet table tall than that the their then there they this through time to today tower town travels tree
under until up valley very village wagon walks wall warm was watch water way well west what wheel when where
while white wide wind window winter with wood wool year yellow young café naïve crème über Straße señal
fjörd smörgås 世界 羊群 草原 東京 река поле δρόμος
"""
# The tokenizer makes each a piece of its own in any context, so that a text tokenises to its own tokens.
_ENDS = [".", ".", ".", ".", ".", ".", "!", "?", "…", " 🐑", " 🚀", " 🌾"]
COMPONENTS = 64
CLASSES = ("negative", "neutral", "positive")
# The logit of a text and itself, as large as those of real rerankers.
_LARGEST_LOGIT = 8.0
_WORD = re.compile(r"\w+")
_MIN_WORDS = 4
_MORE_WORDS = 9
_PARAGRAPH_BELOW = 32  # of 256

Pieces = tuple[Piece, ...]


class Book:
    """The words of generated text, tokenised once and shared by all requests of an engine."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        known: dict[int, Piece] = {}

        def pieces(text: str) -> Pieces:
            ids = tokenizer.encode(text)
            return tuple(known.setdefault(each, Piece((each,), bytes_of(each))) for each in ids)

        words = _WORDS.split()
        titles = [word[0].upper() + word[1:] for word in words]
        self._first = [pieces(title) for title in titles]
        self._opening = [pieces(f" {title}") for title in titles]
        self._inner = [pieces(f" {word}") for word in words]
        self._ends = [pieces(end) for end in _ENDS]
        self._comma = pieces(",")
        self._paragraph = pieces("\n\n")
        self.vocabulary = tuple(known)

    def write(self, key: bytes) -> Iterator[Piece]:
        """Yield pieces of one token each, without end. `key` has up to 64 bytes."""
        opening = self._first
        for number in count():
            dice = blake2b(number.to_bytes(8, "big"), key=key, digest_size=32).digest()
            words = _MIN_WORDS + dice[0] % _MORE_WORDS
            comma_before = dice[1] % (2 * words)
            yield from _pick(opening, dice, 0)
            for at in range(1, words):
                if at == comma_before:
                    yield from self._comma
                yield from _pick(self._inner, dice, at)
            yield from self._ends[dice[2] % len(self._ends)]
            opening = self._opening
            if dice[3] < _PARAGRAPH_BELOW:
                yield from self._paragraph
                opening = self._first


def _pick(words: Sequence[Pieces], dice: bytes, at: int) -> Pieces:
    start = 4 + 2 * at
    return words[(dice[start] << 8 | dice[start + 1]) % len(words)]


def vector(text: str, seed: int) -> list[float]:
    """The sum of the words' hashes as vectors: texts with common words have similar directions."""
    words = _WORD.findall(text.lower()) or [text]
    hashes = [blake2b(word.encode(), key=b"%d" % seed, digest_size=COMPONENTS).digest() for word in words]
    return [(sum(column) - 127.5 * len(words)) / 127.5 for column in zip(*hashes, strict=True)]


def unit(values: Iterable[float]) -> list[float]:
    """Normalise to length 1."""
    kept = list(values)
    length = math.sqrt(sum(value * value for value in kept)) or 1.0
    return [value / length for value in kept]


def relevance(query: str, document: str, seed: int) -> float:
    """A logit: texts with common words have larger ones."""
    one, other = unit(vector(query, seed)), unit(vector(document, seed))
    return _LARGEST_LOGIT * sum(left * right for left, right in zip(one, other, strict=True))


def class_logits(text: str, seed: int) -> Sequence[float]:
    """One for each of CLASSES."""
    return vector(text, seed)[: len(CLASSES)]
