"""What changed in Ollama's contract from the recorded 0.33 to the version that Drover reports, each change
with its source. Tests rewrite the recorded answers by this table, and ollama-contract.md shows it under
"Changes since 0.33" (tests/contract/test_contract_changes.py compares the two).
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass

Rewrite = Callable[[str, str, str], str]
"""Path and body of the request, and the recorded answer, to the answer of now."""


@dataclass(frozen=True, slots=True)
class Change:
    """`rewrite`: None where no recorded answer shows the difference."""

    what: str
    before: str
    now: str
    since: str
    source: str
    rewrite: Rewrite | None = None

    def row(self) -> str:
        return f"| {self.what} | {self.before} | {self.now} | {self.since} | {self.source} |"


def answer_of_now(path: str, request: str, answer: str) -> str:
    """The recorded answer as the newer version gives it."""
    for change in CHANGES:
        if change.rewrite is not None:
            answer = change.rewrite(path, request, answer)
    return answer


def _add_cached_count(path: str, request: str, answer: str) -> str:
    return re.sub(
        r'("prompt_eval_count":\d+)(?=,"prompt_eval_duration")', r'\1,"prompt_eval_cached_count":0', answer
    )


_OLD_KINDS = r' \(\\"high\\", \\"medium\\", \\"low\\", \\"max\\", true, or false\)'


def _shorten_wrong_type(path: str, request: str, answer: str) -> str:
    return re.sub(rf"(think must be a boolean or string){_OLD_KINDS}", r"\1", answer)


def _accept_names(path: str, request: str, answer: str) -> str:
    """All recorded requests with other names go to a model that cannot think."""
    if 'invalid think value: \\"' not in answer:
        return answer
    model = json.loads(request)["model"]
    return json.dumps({"error": f'"{model}" does not support thinking'}, separators=(",", ":"))


def _add_to_show(path: str, request: str, answer: str) -> str:
    """The recorded models that think have a template with a switch, and all others no other source."""
    if path != "/api/show":
        return answer

    def added(found: re.Match[str]) -> str:
        thinking = ',"thinking":{"values":[false,true],"default":true}' if '"thinking"' in found[1] else ""
        return f'{found[1]}{thinking},"template_source":"a source"'

    return re.sub(r'("capabilities":\[[^\]]*\])(?=,"modified_at")', added, answer)


def _add_decision(path: str, request: str, answer: str) -> str:
    """All recorded models that generate have labels of one token."""
    if path not in ("/api/show", "/api/tags"):
        return answer
    return re.sub(
        r'"capabilities":\[((?:"\w+",)*"completion"(?:,"(?!decision")\w+")*)\]',
        r'"capabilities":[\1,"decision"]',
        answer,
    )


_TIMINGS = (
    "prompt_n",
    "prompt_ms",
    "prompt_per_second",
    "predicted_n",
    "predicted_ms",
    "predicted_per_second",
)


def _add_timings(path: str, request: str, answer: str) -> str:
    if path not in ("/v1/chat/completions", "/v1/completions"):
        return answer
    timings = ",".join(f'"{name}":0' for name in _TIMINGS)
    # Without choices, and the last member.
    return re.sub(
        r'("choices":\[\](?:,"model":"[^"]*","system_fingerprint":"[^"]*")?,"usage":\{[^}]*\})(?=\}\n)',
        rf'\1,"timings":{{{timings}}}',
        answer,
    )


_CACHED = "docs.ollama.com/api/usage"
_THINKING = "docs.ollama.com/capabilities/thinking, ollama/ollama#18473"
CHANGES = (
    Change(
        "last object of generate and chat",
        "no `prompt_eval_cached_count`",
        "`prompt_eval_cached_count` between `prompt_eval_count` and `prompt_eval_duration`, also if it is 0",
        "0.33.x",
        _CACHED,
        _add_cached_count,
    ),
    Change(
        "`prompt_eval_duration`",
        "of the whole prompt",
        "of the tokens that were not in the prefix cache",
        "0.33.3",
        _CACHED,
    ),
    Change(
        "`think` of another type (number, list, object, empty text)",
        '400 `think must be a boolean or string ("high", "medium", "low", "max", true, or false)`',
        "400 `think must be a boolean or string`",
        "0.34.3",
        _THINKING,
        _shorten_wrong_type,
    ),
    Change(
        "`think` with a name that is no level",
        "400 `invalid think value: …`",
        "the model's default; a model that cannot think refuses it as it refuses levels",
        "0.34.3",
        _THINKING,
        _accept_names,
    ),
    Change(
        "an unknown `reasoning_effort` or `reasoning.effort`",
        "400 `invalid reasoning value: …`",
        "the model's default, for every model (upstream: for those with `thinking` in show)",
        "0.34.3",
        _THINKING,
    ),
    Change(
        "`show`: `thinking`",
        "–",
        "`{values, default}`, where the model's values are known",
        "0.34.3",
        _THINKING,
        _add_to_show,
    ),
    Change(
        "`show`: `template_source`, `renderer`",
        "`renderer` as declared",
        "where the chat prompt comes from; the effective renderer",
        "by 0.40.12",
        "docs.ollama.com/api-reference/show-model-details",
    ),
    Change(
        "`show` and tags: capability `decision`",
        "no such word",
        "of the models that were trained for decisions; here of all that answer them",
        "0.35.0",
        "docs.ollama.com/capabilities/decision",
        _add_decision,
    ),
    Change(
        "Modelfile: `CAPABILITY`",
        "no such line",
        "declares a capability",
        "by 0.40.12",
        "docs.ollama.com/modelfile",
    ),
    Change(
        "OpenAI: last chunk of a stream with `include_usage`",
        "`usage`",
        "`usage` and llama.cpp's `timings`",
        "0.35.1",
        "measured on 0.40.3 by a user (dev.to, lognebudo)",
        _add_timings,
    ),
    Change(
        "`adapters` of `create`, ADAPTER of a Modelfile",
        "make a model with a LoRA",
        "the CLI refuses the line, and the request has no such field; here both still work",
        "0.34.1",
        "ollama/ollama#14969, generative-computing/mellea#1651",
    ),
    Change(
        "`POST /v1/systemone`",
        "404",
        "decisions (docs/decisions.md)",
        "0.35.0",
        "docs.ollama.com/api/systemone",
    ),
    Change(
        "`POST /v1/responses/compact`, and `compaction_trigger` on `/v1/responses`",
        "404, and 400",
        "compaction items",
        "by 0.40.0",
        "ollama/ollama#18224",
    ),
    Change(
        "`/api/version`",
        "0.33.0",
        "0.40.12",
        "0.40.12",
        "the newest version found on 2026-11-29",
    ),
)
