"""JSON Schemas, regular expressions and tool schemas as grammars of the answer, the same on every engine.

A request's way, from its text to what an engine takes:

constraint.py               start here: from a request to its Constraint (grammar, dropped keywords)
schema_reader.py            schema text to JSON, bounded; reads the values of keywords
keywords.py                 table: which keywords are kept, dropped, or only describe
simplify.py                 any schema to a simple one: references, `allOf`, alternatives
  references.py               where a `$ref` leads
  alternatives.py             chosen members of `anyOf` and `oneOf`, and cycles among them
  merged.py                   several schemas for one value, read as one
  simplify_types.py           one simple schema per type: arrays, numbers
  simplify_objects.py         ... objects
  simplify_strings.py         ... strings
  string_formats.py           values of `format` as patterns
  patterns.py                 regular expressions to terms
schema_to_grammar.py        simple schema to grammar rules, for JSON texts
  json_text.py                strings, literals and property names as JSON writes them
  numbers.py, multiples.py    numbers between bounds, multiples of a number
ebnf_reader.py              a client's EBNF to a grammar
structural_tag.py           free text with tags of prescribed content to a grammar
  text_until.py               text up to the first of several texts
grammar_checks.py           ... checked, and rewritten for every engine's library
lark_reader.py              a custom tool's Lark grammar to a grammar
  lark_tokens.py              ... its tokens, texts and regular expressions
  lark_terminals.py           ... its terminals, put into the rules
  grammar_recursion.py        ... without left recursion
custom_input.py             ... the constraint of a custom tool's call
free_answers.py             free text, and calls that obey a grammar
rules.py                    which rules a term refers to, and which have a property
terms.py                    what rules are made of: characters, sequences, choices, repetitions
gbnf_writer.py              grammar to GBNF, llama.cpp's language
ebnf_writer.py              grammar to EBNF, xgrammar's language (SGLang)
lark_writer.py              grammar to llguidance's Lark dialect
cost_limits.py              cost of a grammar for any engine, of a client's own EBNF too
gbnf_size_limits.py         ... for llama.cpp: size, and alternatives at one position
gbnf_ambiguity_limit.py     ... ways to match one text
gbnf_alternatives_limit.py  ... alternatives that begin alike
call_grammar.py             grammars of tool calls
tool_schema.py              a tool's parameters, without what no grammar can be made of
"""
