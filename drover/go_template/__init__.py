"""Go's text/template as Ollama's Modelfiles use it, bounded in time and memory.

- template.py: parse a template and render a prompt with it; parse_async.py does so off the event loop
- tokens.py, literals.py: source to tokens
- parser.py, nodes.py: tokens to the syntax tree
- variables.py: fields that a template mentions, and where its answer begins
- thinking.py: tags that a template writes around thinking
- execution.py: executes the tree over its data
- functions.py: table of functions (comparison.py, containers.py, printf.py, escapes.py, typescript.py)
- conversation.py, tools.py: data of a request as templates see it
- values.py, numbers.py: Go's values, how they print, their truth and type names
- json_text.py: JSON as Go writes it
- errors.py: errors, and the bounds of source and rendering
"""
