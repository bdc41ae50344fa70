"""llama.cpp's grammar library, without a model: tokens are bytes."""

from __future__ import annotations

from functools import cache

from llguidance import LLMatcher, LLTokenizer, TokenizerWrapper

from engine_worker.engines.llamacpp.grammar_compiler_process import ByteTokens
from engine_worker.schemas.lark_writer import lark_text
from engine_worker.schemas.schema_to_grammar import Grammar


def accepts(grammar: Grammar, text: str) -> bool:
    matcher = LLMatcher(_tokenizer(), LLMatcher.grammar_from_lark(lark_text(grammar)), log_level=0)
    assert not matcher.is_error(), matcher.get_error()
    tokens = list(text.encode())
    return matcher.try_consume_tokens(tokens) == len(tokens) and matcher.is_accepting()


@cache
def _tokenizer() -> LLTokenizer:
    return LLTokenizer(TokenizerWrapper(ByteTokens()))
