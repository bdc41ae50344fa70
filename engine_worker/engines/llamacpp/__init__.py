"""The llama.cpp engine, for machines without a GPU: llama.cpp in a child process, from the xllamacpp wheel.

A request's way:

engine.py                    the Engine: loads the model, holds slots, streams answers
prompt.py                    from a request's input to token ids that fit the window, and an answer mode
  chat_plan.py                 chats: template options, and who parses the answer
  messages.py                  messages and tools as llama.cpp reads them
answer_modes.py              the three ways to generate an answer: endpoint, body, reader
  drover_parsed.py             grammar and parser of answers that Drover parses
  answer_grammar.py            grammar of a whole answer, in Lark or GBNF
format_checks.py             checks of grammars (in grammar_compiler_process.py) and of JSON answers
text_check.py                follows an answer with its grammar, and fails it where it does not obey
request.py                   bodies of requests: sampling, limits
slots.py                     llama.cpp's slots, and reuse of their prefix caches
api.py                       HTTP client of llama-server
chunks.py                    stream chunks: interface of the readers
  plain_output.py              /completion without markup
  parsed_output.py             /completion read by Drover's parsers
  chat_output.py               /v1/chat/completions read by llama.cpp's parsers
label_scores.py              decisions: log probabilities of labels
reranker.py                  models with a classifier, which rerank
adapters.py                  adapters (LoRA) of the child
process.py                   start and end of the child; llama_process.py is its script
gguf.py, vocabulary.py       the model's file; gguf_sampling.py: its recommended sampling
  gguf_reader.py             how its metadata is read
template.py                  capabilities of the model's chat template
options.py, option_ranges.py settings; ranges of sampling parameters
"""

from engine_worker.engines.llamacpp.engine import LlamacppEngine
from engine_worker.engines.llamacpp.options import LlamacppOptions

__all__ = ["LlamacppEngine", "LlamacppOptions"]
