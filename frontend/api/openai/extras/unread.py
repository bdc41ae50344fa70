"""The extensions that are never read: refused, or named in X-Drover-Not-Honoured, on every engine."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Refusal:
    """A field that is refused with 400 on every route; `about` says why."""

    name: str
    about: str


@dataclass(frozen=True, slots=True)
class Unused:
    """A field that has no effect on any engine and is named; `about` says why, or what to use instead."""

    name: str
    about: str


_CODE = "it is code that would run in the engine"
_FLEET = "the server chooses the workers"
REFUSALS: tuple[Refusal, ...] = (
    Refusal("custom_logit_processor", _CODE),
    Refusal("logits_processors", _CODE),
    Refusal("chat_template", "a template is a program that would run in the worker; make a model with a "
            "TEMPLATE, or use `chat_template_kwargs`"),
    Refusal("input_ids", "send token ids as the `prompt` of /v1/completions"),
    Refusal("input_embeds", "prompts are texts or token ids"),
    Refusal("prompt_embeds", "prompts are texts or token ids"),
    Refusal("allowed_token_ids", "no engine restricts an answer to tokens; use `regex` or `logit_bias`"),
    Refusal("lora_path", "adapters are models of their own here: name one in `model`"),
    Refusal("session_params", "no sessions are kept in the engines; send the whole conversation"),
    Refusal("return_hidden_states", "hidden states are not given out"),
    Refusal("return_pooled_hidden_states", "hidden states are not given out"),
    *(
        Refusal(name, _FLEET)
        for name in (
            "data_parallel_rank", "routed_dp_rank", "disagg_prefill_dp_rank", "bootstrap_host",
            "bootstrap_port", "bootstrap_room", "kv_transfer_params", "ec_transfer_params", "kv_hints",
        )
    ),
)  # fmt: skip

_RESEARCH = "the engines' internals are not given out"
_BEAM = "no engine has beam search"
UNUSED: tuple[Unused, ...] = (
    Unused("stop_regex", "SGLang would search each step's text with a backtracking matcher, which some "
           "expressions stop for minutes; use `stop`, or `regex` for the whole answer"),
    Unused("bad_words", "use `logit_bias`"),
    Unused("use_beam_search", _BEAM),
    Unused("length_penalty", _BEAM),
    Unused("early_stopping", _BEAM),
    Unused("guided_decoding_backend", "each engine has one"),
    Unused("guided_whitespace_pattern", "white space between JSON's tokens is bounded on every engine"),
    Unused("spaces_between_special_tokens", "there are never spaces between them"),
    Unused("add_special_tokens", "the template decides"),
    Unused("documents", "write them into a message"),
    Unused("truncate_prompt_tokens", "use `num_ctx`"),
    Unused("truncation_side", "the beginning is cut"),
    Unused("thinking_token_budget", "use `max_tokens`"),
    Unused("custom_params", "they belong to custom logit processors"),
    Unused("vllm_xargs", "they belong to custom logit processors"),
    Unused("prompt_logprobs", "log probabilities are those of the answer"),
    Unused("logprob_start_len", "log probabilities are those of the answer"),
    Unused("logprob_token_ids", "use `top_logprobs`"),
    Unused("token_ids_logprob", "use `top_logprobs`"),
    Unused("return_tokens_as_token_ids", "`/v1/tokenize` has the ids of a text"),
    Unused("return_token_ids", "`/v1/tokenize` has the ids of a text"),
    Unused("return_prompt_token_ids", "`/v1/tokenize` has the ids of a text"),
    Unused("return_meta_info", "usage and headers have the counts"),
    Unused("return_cached_tokens_details", "usage has the count of cached tokens"),
    Unused("return_spec_tokens_details", _RESEARCH),
    Unused("return_routed_experts", _RESEARCH),
    Unused("routed_experts_start_len", _RESEARCH),
    Unused("return_sampling_mask", _RESEARCH),
    Unused("sampling_logprobs_mode", _RESEARCH),
    Unused("watermark", "answers are not marked"),
    Unused("repetition_detection", "use `repetition_penalty`"),
    Unused("stream_interval", "tokens are sent as they come"),
    Unused("mm_processor_kwargs", "images are read with the model's own settings"),
    Unused("media_io_kwargs", "images are read with the model's own settings"),
    Unused("images_config", "images are read with the model's own settings"),
    Unused("video_config", "images are read with the model's own settings"),
    Unused("max_dynamic_patch", "images are read with the model's own settings"),
    Unused("min_dynamic_patch", "images are read with the model's own settings"),
    Unused("use_audio_in_video", "images are read with the model's own settings"),
)  # fmt: skip
