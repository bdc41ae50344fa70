"""All that Drover touches of SGLang, public and private: nothing outside this folder imports it.

Written against SGLang 0.5.23, whose private interfaces change with each release. What is used of them:

    arguments.py       ServerArgs' command line
    process.py         Engine, its child processes, TokenizerManager (signals, in-flight table, load
    snapshots) templates.py       OpenAIServingChat._process_messages: chat templates, thinking switches,
    forced calls parsers.py         ReasoningParser, FunctionCallParser, JsonArrayParser vocabulary.py
    the tokenizer's bytes, through xgrammar; completion (FIM) templates cpu_platform.py    an SRTPlatform
    for machines without an accelerator resume_grammar.py  a grammar backend around SGLang's own

`plugins` is what SGLang's processes find on their path: entry points that name the last two.
"""

VERSION = "0.5.23"
