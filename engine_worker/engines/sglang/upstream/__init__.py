"""All that Drover touches of SGLang, public and private: nothing outside this folder imports it.

Written against SGLang 0.5.23, whose private interfaces change with each release. What is used of them:

    arguments.py       ServerArgs' command line
    process.py         Engine and its child processes; of TokenizerManager: signals, in-flight table
    loads.py           LoadSnapshot
    templates.py       OpenAIServingChat._process_messages: templates, thinking switches, forced calls
    conversation.py    the messages of that layer
    reasoning.py       ReasoningParser
    calls.py           FunctionCallParser, JsonArrayParser
    vocabulary.py      the tokenizer, its bytes through xgrammar, completion (FIM) templates
    model.py           what the managers know of a loaded model
    cpu_platform.py    an SRTPlatform for machines without an accelerator
    resume_grammar.py  a grammar backend around SGLang's own

`plugins` is what SGLang's processes find on their path: entry points that name the last two.
"""

VERSION = "0.5.23"
