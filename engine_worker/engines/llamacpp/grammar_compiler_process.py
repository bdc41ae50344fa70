"""A process that compiles grammars, run by its path. Each input line is a grammar as JSON text, or a list of
one, which is also tried with tokens of several characters; each output line is the compiler's error as JSON
text, empty if there is none.

It imports nothing of Drover, so that it starts fast. Compiling may take long, take all memory or crash: a
process of its own with limits on time and memory contains that, and it ends with its parent's pipe.
"""

from __future__ import annotations

import json
import re
import resource
import signal
import sys
from collections.abc import Iterable, Iterator
from itertools import product

import llguidance

_END = 256
_TOKEN = re.compile(r"<\[[0-9]+\]>")
_MAX_SECONDS = 30
_MAX_MEMORY_BYTES = 4 << 30


class ByteTokens:
    """A tokenizer with one token per byte, in place of a model's; `words` are further tokens."""

    eos_token_id = _END
    bos_token_id = None
    special_token_ids = (_END,)

    def __init__(self, words: Iterable[str] = ()) -> None:
        self.tokens = (
            *(bytes([byte]) for byte in range(256)),
            b"<end>",
            *(word.encode() for word in words),
        )

    def __call__(self, text: str | bytes) -> list[int]:
        return list(text.encode() if isinstance(text, str) else text)


def main() -> None:
    resource.setrlimit(resource.RLIMIT_AS, (_MAX_MEMORY_BYTES, _MAX_MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    tokenizer = llguidance.LLTokenizer(llguidance.TokenizerWrapper(ByteTokens()))
    words: llguidance.LLTokenizer | None = None
    _answer("ready")
    for line in sys.stdin:
        value = json.loads(line)
        if isinstance(value, str):
            _answer(_problem(tokenizer, value))
            continue
        words = words or llguidance.LLTokenizer(llguidance.TokenizerWrapper(ByteTokens(_words())))
        _answer(_problem(tokenizer, value[0]) or _problem(words, value[0]).partition("\n")[0])


def _words() -> Iterator[str]:
    """As many as in a small model's vocabulary: rules that loop over single characters are too slow with
    them, and llama.cpp's library gives up.
    """
    syllables = [first + second for first in "bcdfgklmnprstvwz" for second in "aeiou"]
    for word in product(syllables, syllables, syllables[::3]):
        yield "".join(word)
        yield " " + word[0] + word[1]


def _answer(text: str) -> None:
    sys.stdout.write(json.dumps(text) + "\n")
    sys.stdout.flush()


def _problem(tokenizer: llguidance.LLTokenizer, grammar: str) -> str:
    # Token numbers in the grammar are those of the model's vocabulary.
    grammar = _TOKEN.sub(f"<[{_END}]>", grammar)
    signal.alarm(_MAX_SECONDS)
    matcher = llguidance.LLMatcher(tokenizer, llguidance.LLMatcher.grammar_from_lark(grammar), log_level=0)
    if not matcher.is_error():
        matcher.compute_bitmask()
    signal.alarm(0)
    return matcher.get_error() if matcher.is_error() else ""


if __name__ == "__main__":
    main()
