"""Log probabilities of the model itself, as Ollama's are: before temperature, biases, penalties and grammars.

SGLANG_RETURN_ORIGINAL_LOGPROB leaves only the temperature out: SGLang (0.5.23) changes the logits in place
for all else before its sampler sees them. The sampler takes other logits for log probabilities, which SGLang
itself uses under watermarks; here it gets those that the model gave.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sglang.srt.plugins.hook_registry import HookRegistry, HookType

if TYPE_CHECKING:
    import torch
    from sglang.srt.layers.logits_processor import LogitsProcessorOutput
    from sglang.srt.model_executor.forward_batch_info import ForwardBatch
    from sglang.srt.sampling.sampling_batch_info import SamplingBatchInfo

_SAMPLE = "sglang.srt.model_executor.model_runner.ModelRunner.sample"
_FORWARD = "sglang.srt.layers.sampler.Sampler.forward"
_KEPT = "drover_original_logits"


def register() -> None:
    """The plugin's entry point: SGLang calls it in each of its processes."""
    HookRegistry.register(_SAMPLE, _keep, HookType.AROUND)
    HookRegistry.register(_FORWARD, _use, HookType.AROUND)


def _keep(
    sample: object, runner: object, logits_output: LogitsProcessorOutput, forward_batch: ForwardBatch
) -> torch.Tensor:
    assert callable(sample)
    if forward_batch.return_logprob:
        setattr(forward_batch.sampling_info, _KEPT, logits_output.next_token_logits.clone())
    return sample(runner, logits_output, forward_batch)


def _use(
    forward: object,
    sampler: object,
    logits_output: LogitsProcessorOutput,
    sampling_info: SamplingBatchInfo,
    *arguments: object,
    **named: object,
) -> torch.Tensor:
    assert callable(forward)
    kept = vars(sampling_info).pop(_KEPT, None)
    if kept is not None:
        named["logprob_logits"] = kept
    return forward(sampler, logits_output, sampling_info, *arguments, **named)
