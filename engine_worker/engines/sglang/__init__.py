"""SGLang in this process and its children: the engine for GPUs, and with our platform for any CPU.

Nothing here imports SGLang before the engine starts: `upstream` does, and only there.

engine.py            the Engine: loads the model, answers requests
prompt.py            prompts, rendered and tokenised in threads
request.py           a request to SGLang: sampling, stop texts, constraint
  call_grammars.py     grammars of forced calls
output.py            SGLang's chunks to events
  output_builder.py    the stages that a request's output passes through
  text.py              text and log probabilities of new tokens
label_scores.py      decisions: log probabilities of labels
classifier.py        models that rerank or classify
adapter_files.py     adapters, completed for SGLang
in_flight.py         counts for load reports
model_info.py        the model's description; model_files.py: its files, model_config.py: its config.json
  metadata.py          of it what show prints as model_info
options.py           settings; option_ranges.py: ranges of sampling parameters
upstream/            SGLang itself
"""

from engine_worker.engines.sglang.options import SglangOptions

__all__ = ["SglangOptions"]
