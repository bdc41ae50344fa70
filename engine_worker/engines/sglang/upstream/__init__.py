"""The adapter to SGLang: the only folder that imports it.

It is written for SGLang 0.5.23, whose private interfaces change with each release. It uses:

    arguments.py          ServerArgs' command line
    process.py            Engine and its child processes; of TokenizerManager: signals, in-flight table
    calls.py              what Engine takes for a request and gives for an answer
    loads.py              LoadSnapshot
    templates.py          OpenAIServingChat._process_messages: templates, thinking switches, forced calls
    conversation.py       the messages of that layer
    reasoning.py          ReasoningParser
    tool_call_parsers.py  FunctionCallParser, JsonArrayParser
    vocabulary.py         the tokenizer, its bytes through xgrammar, completion (FIM) templates
    model.py              what the managers know of a loaded model
    cpu_platform.py       an SRTPlatform for machines without an accelerator
    resume_grammar.py     a grammar backend around SGLang's own
    original_logprobs.py  hooks around SGLang's sampler
    unpinned_adapters.py  hooks around its allocations for adapters

`plugins` is what SGLang's processes find on their path: entry points that name the last four. Further:
environment.py (what SGLang reads from its environment), classifier.py (a model's classifier), tool_formats.py
(formats that SGLang does not recognise), tracing.py (its flags for spans of its own), own_metrics.py (what it
counts) and resume_mark.py (the mark of a resumed grammar).
"""

VERSION = "0.5.23"
