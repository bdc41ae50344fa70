"""A process that compiles grammars, run by its path: a line of JSON with a grammar in, a line with its
problem out, empty where there is none.

It imports nothing of Drover, and is small. Compiling can take long, or all memory, or end the process; here
nothing else ends with it, and it cannot stay behind.
"""

from __future__ import annotations

import json
import re
import resource
import signal
import sys

import llguidance

_END = 256
_TOKEN = re.compile(r"<\[[0-9]+\]>")
_MOST_SECONDS = 30
_MOST_MEMORY = 4 << 30


class ByteTokens:
    """The tokenizer of a model whose tokens are bytes."""

    eos_token_id = _END
    bos_token_id = None
    tokens = (*(bytes([byte]) for byte in range(256)), b"<end>")
    special_token_ids = (_END,)

    def __call__(self, text: str | bytes) -> list[int]:
        return list(text.encode() if isinstance(text, str) else text)


def main() -> None:
    resource.setrlimit(resource.RLIMIT_AS, (_MOST_MEMORY, _MOST_MEMORY))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    tokenizer = llguidance.LLTokenizer(llguidance.TokenizerWrapper(ByteTokens()))
    _answer("ready")
    for line in sys.stdin:
        _answer(_problem(tokenizer, json.loads(line)))


def _answer(text: str) -> None:
    sys.stdout.write(json.dumps(text) + "\n")
    sys.stdout.flush()


def _problem(tokenizer: llguidance.LLTokenizer, grammar: str) -> str:
    # Numbers of tokens are those of another vocabulary.
    grammar = _TOKEN.sub(f"<[{_END}]>", grammar)
    signal.alarm(_MOST_SECONDS)
    matcher = llguidance.LLMatcher(tokenizer, llguidance.LLMatcher.grammar_from_lark(grammar), log_level=0)
    if not matcher.is_error():
        matcher.compute_bitmask()
    signal.alarm(0)
    return matcher.get_error() if matcher.is_error() else ""


if __name__ == "__main__":
    main()
