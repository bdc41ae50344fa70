"""The properties of a model that SGLang has loaded."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from huggingface_hub import snapshot_download

from engine_worker.engines.sglang.model_config import integer, text_config
from engine_worker.engines.sglang.upstream import resume_mark
from engine_worker.engines.sglang.upstream.classifier import ClassifierHead, is_encoder, most_tokens
from engine_worker.engines.sglang.upstream.process import EngineProcess
from engine_worker.engines.sglang.upstream.templates import Templates, Turn
from engine_worker.engines.sglang.upstream.vocabulary import Vocabulary
from engine_worker.output.call_markup import CallMarkup

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_BYTES_PER_GB = 1 << 30


@dataclass(frozen=True, slots=True)
class LoadedModel:
    """A loaded model. `defaults` come from its generation_config.json, with SGLang's names."""

    templates: Templates
    vocabulary: Vocabulary
    tokenizer: PreTrainedTokenizerBase
    folder: Path
    config: Mapping[str, object]
    defaults: Mapping[str, float]
    context_length: int
    trained_context_length: int
    longest_prompt: int
    running_limit: int
    loaded_bytes: int
    classifier: ClassifierHead | None
    on_accelerator: bool
    can_seed: bool
    has_priorities: bool
    can_constrain: bool
    can_resume_constraint: bool
    takes_grammars: bool
    call_markup: CallMarkup | None
    make_turn: Callable[..., Turn]
    resumed: Callable[[dict[str, object], int], dict[str, object]]

    @classmethod
    def of(cls, process: EngineProcess) -> LoadedModel:
        """Blocking: it reads the vocabulary."""
        engine, manager = process.engine, process.manager
        setting = manager.config_value
        info = engine._scheduler_init_result.scheduler_infos[0]
        snapshots = manager.load_snapshot_reader.read_all()
        tokenizer = manager.tokenizer
        config = manager.model_config.hf_config.to_dict()
        # SGLang keeps some tokens for itself, and its KV cache may be smaller than the context.
        longest_prompt = min(info["max_req_input_len"], manager.context_len) - 1
        room = min(manager.context_len, info["max_total_num_tokens"])
        vocabulary = Vocabulary(tokenizer, manager.model_config.vocab_size)
        # Without the tokens' bytes SGLang has no grammars.
        can_constrain = vocabulary.has_bytes and setting("grammar_backend") != "none"
        templates = Templates(engine)
        return cls(
            templates=templates,
            vocabulary=vocabulary,
            tokenizer=tokenizer,
            folder=_folder(setting("model_path"), setting("revision")),
            config=config,
            defaults=dict(manager.model_config.get_default_sampling_params() or {}),
            context_length=room if manager.is_generation else _longest_text(config, longest_prompt),
            trained_context_length=_trained_context(config, manager.context_len),
            longest_prompt=longest_prompt,
            running_limit=max(1, process.load().running_limit),
            loaded_bytes=round(
                sum(rank.memory.weight_gb + rank.memory.kv_cache_gb for rank in snapshots if rank.memory)
                * _BYTES_PER_GB
            ),
            classifier=None if manager.is_generation else ClassifierHead.of(config, tokenizer),
            on_accelerator=setting("device") != "cpu",
            can_seed=bool(setting("enable_deterministic_inference")),
            has_priorities=bool(setting("enable_priority_scheduling")),
            can_constrain=can_constrain,
            # Each node's processes have a mark of their own.
            can_resume_constraint=can_constrain and setting("nnodes") == 1,
            # Other backends have no EBNF, or another dialect.
            takes_grammars=setting("grammar_backend") in (None, "xgrammar"),
            call_markup=templates.call_markup(),
            make_turn=Turn,
            resumed=resume_mark.write,
        )


def _folder(model_path: str, revision: str | None) -> Path:
    """Where the files are: SGLang has downloaded what was named by a repository's id."""
    if Path(model_path).is_dir():
        return Path(model_path)
    return Path(snapshot_download(model_path, revision=revision, local_files_only=True))


def _longest_text(config: Mapping[str, object], longest_prompt: int) -> int:
    """An encoder has a position for so many tokens; one more would end SGLang's scheduler."""
    most = most_tokens(config) if is_encoder(config) else None
    return longest_prompt if most is None else min(most, longest_prompt)


def _trained_context(config: Mapping[str, object], default: int) -> int:
    return integer(text_config(config), "max_position_embeddings") or default
