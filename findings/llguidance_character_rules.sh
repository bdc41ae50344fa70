#!/usr/bin/env bash
# llguidance takes a grammar and then gives up on it, depending on the vocabulary alone. PyPI: llguidance 1.9.1.
#
# Three grammars of the same language: any text in which "o" is always followed by "x". Each compiles without
# an error. The first two are rules that loop over single characters; the third is one expression.
# One would expect the same first mask of all of them. Seen instead, with the words of a small vocabulary:
#   - with one token per byte all three work, so a check without the model's vocabulary finds nothing;
#   - with 73,000 tokens of 1 to 7 bytes the first two stop with `Too many items (limit 50000; mask)`, at the
#     first mask of an empty answer. is_error() is false until then, and validate_grammar says nothing.
# A server that only logs the error (as llama.cpp does) generates text without the grammar from there on.
# Output seen:
#   bytes: works, works, works
#   words: Too many items, Too many items, works
# Exits with 1 when that changes.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check llguidance==1.9.1

cat > "$work/try.py" <<'PY'
import itertools, sys
from llguidance import LLMatcher, LLTokenizer, TokenizerWrapper

GRAMMARS = (
    'start: "" | /[^o]/ start | "o" "x" start',
    'start: "" | /[^o]/ start | pair start\npair: "o" "x"',
    "start: /([^o]|ox)*/",
)

def words():
    syllables = [first + second for first in "bcdfgklmnprstvwz" for second in "aeiou"]
    for word in itertools.product(syllables, syllables):
        yield from ("".join(word), " " + "".join(word))
    for word in itertools.islice(itertools.product(syllables, repeat=3), 0, None, 17):
        yield from ("".join(word), " " + "".join(word))

class Tokens:
    eos_token_id, bos_token_id, special_token_ids = 256, None, (256,)
    def __init__(self, more):
        self.tokens = (*(bytes([byte]) for byte in range(256)), b"<end>", *(word.encode() for word in more))
    def __call__(self, text):
        return list(text.encode() if isinstance(text, str) else text)

def outcome(tokenizer, grammar):
    matcher = LLMatcher(tokenizer, LLMatcher.grammar_from_lark(grammar), log_level=0)
    assert not matcher.is_error() and not LLMatcher.validate_grammar(LLMatcher.grammar_from_lark(grammar), tokenizer)
    matcher.compute_bitmask()
    return "Too many items" if matcher.is_error() and "Too many items" in matcher.get_error() else "works"

seen = []
for name, more in (("bytes", ()), ("words", words())):
    tokenizer = LLTokenizer(TokenizerWrapper(Tokens(more)))
    outcomes = [outcome(tokenizer, grammar) for grammar in GRAMMARS]
    seen.append(outcomes)
    print(f"{name}: {', '.join(outcomes)}")
sys.exit(seen != [["works"] * 3, ["Too many items", "Too many items", "works"]])
PY
"$work/venv/bin/python" "$work/try.py"
