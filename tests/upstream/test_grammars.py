"""Our grammars on the library that SGLang makes grammars with."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import xgrammar
from xgrammar.testing import _is_grammar_accept_string

from engine_worker.engines.sglang.call_grammars import forced_call
from engine_worker.schemas.constraint import from_regex, from_schema
from engine_worker.schemas.ebnf_writer import ebnf_text
from tests.schemas.keywords import CASES, Case
from tests.schemas.table import LOST, column, outcome
from tests.schemas.xgrammar_accepts import accepts

_WRITTEN = Path(__file__).parents[1] / "schemas"
_BYTES = [*(bytes([byte]) for byte in range(256)), b"<end>"]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.keyword)
def test_a_keyword_is_kept_or_named_as_the_table_says(case: Case) -> None:
    kept = outcome(case, accepts)

    assert kept != LOST
    assert column("SGLang").get(case.keyword) == kept, (
        "run `python -m tests.schemas.table` in this environment"
    )


@pytest.mark.parametrize("source", ["pydantic", "zod"])
def test_schemas_that_programs_write_compile(source: str) -> None:
    info = xgrammar.TokenizerInfo(_BYTES, xgrammar.VocabType.RAW, stop_token_ids=[256])
    compiler = xgrammar.GrammarCompiler(info)
    lines = (_WRITTEN / f"{source}.jsonl").read_text().splitlines()

    for line in lines:
        compiler.compile_grammar(ebnf_text(from_schema(json.dumps(json.loads(line)["schema"])).grammar))
    assert len(lines) > 100


def test_a_forced_call_in_tags_has_a_grammar_of_ours() -> None:
    arguments = {"type": "object", "properties": {"s": {"type": "string", "minLength": 1}}, "required": ["s"]}
    content = {"type": "json_schema", "json_schema": arguments}
    tag = {
        "type": "structural_tag",
        "format": {"type": "tag", "begin": "<f>", "content": content, "end": "</f>"},
    }
    forced = forced_call("structural_tag", json.dumps(tag), takes_grammars=True)
    grammar = xgrammar.Grammar.from_structural_tag(str(forced.parameters["structural_tag"]))

    assert _is_grammar_accept_string(grammar, '<f>{"s": "a \\"quotation\\""}</f>')
    assert not _is_grammar_accept_string(grammar, '<f>{"s": ""}</f>')


@pytest.mark.parametrize(
    ("pattern", "text", "takes"),
    [
        ("[0-9]{3}-[a-c]{2}", "123-ab", True),
        ("[0-9]{3}-[a-c]{2}", "x123-ab", False),
        ("<think>hm</think>Yes[.]", "<think>hm</think>Yes.", True),
        (r"\w+|é\x41", "éA", True),
    ],
)
def test_a_regular_expression_is_of_the_whole_answer(pattern: str, text: str, takes: bool) -> None:
    assert accepts(from_regex(pattern).grammar, text) is takes
