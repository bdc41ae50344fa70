"""SGLang's grammar library, without a model."""

from __future__ import annotations

import xgrammar
from xgrammar.testing import _is_grammar_accept_string

from engine_worker.schemas.ebnf_writer import ebnf_text
from engine_worker.schemas.schema_to_grammar import Grammar


def accepts(grammar: Grammar, text: str) -> bool:
    return bool(_is_grammar_accept_string(xgrammar.Grammar.from_ebnf(ebnf_text(grammar)), text))
