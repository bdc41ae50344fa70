"""JSON Schemas as grammars: what a request wants its answer to look like, the same on every engine.

    text ─ reading.py ─▶ JSON ─ simplify.py ─▶ a simple schema ─ grammar.py ─▶ rules
    rules ─ lark.py, gbnf.py, ebnf.py ─▶ the text that an engine takes

constraint.py is the way through. keywords.py is the table of what is kept, dropped or only describes.
"""
