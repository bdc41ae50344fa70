"""The table of the extensions: docs/extras.md, the readers and the descriptions in openapi.json come from it.

A field is honoured, or named in X-Drover-Not-Honoured, or refused with 400. Fields that are never read are in
unread.py.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from drover.ollama_options import INT32_MAX
from frontend.api.openai.extras.kinds import (
    Anything,
    Choices,
    Flag,
    Kind,
    Number,
    Object,
    Text,
    TokenIds,
    Whole,
)

CHAT, COMPLETIONS, RESPONSES = "chat", "completions", "responses"
ALL_ROUTES = (CHAT, COMPLETIONS, RESPONSES)
_GENERATING = (CHAT, COMPLETIONS)
ENGINES = ("sglang", "llamacpp", "simulator", "ollama")
YES, NAMED, REFUSED = "yes", "named", "400"

MAX_CONSTRAINT_CHARACTERS = 128 * 1024
MAX_CHOICES = 1000
_MAX_STOP_TOKENS = 256
_MAX_KEY_CHARACTERS = 1024
_MAX_ID_CHARACTERS = 256


@dataclass(frozen=True, slots=True)
class Extra:
    """A field that is read. `whose`: SGLang's, vLLM's, or both; `support`: what each engine does with it;
    `sample`: a value that is not the field's default; `named_as`: its name in X-Drover-Not-Honoured, where
    that is another one.
    """

    name: str
    whose: str
    kind: Kind
    about: str
    sample: object
    routes: tuple[str, ...] = _GENERATING
    support: Mapping[str, str] = field(default_factory=dict)
    named_as: str = ""

    def at(self, engine: str) -> str:
        return self.support.get(engine, YES)


_BOTH, _SGLANG, _VLLM = "SGLang, vLLM", "SGLang", "vLLM"
_CONSTRAINED = {"simulator": REFUSED, "ollama": REFUSED}
_JSON = {"simulator": REFUSED}
_TEXT = Text(MAX_CONSTRAINT_CHARACTERS, least=1)

EXTRAS: tuple[Extra, ...] = (
    # Constraints: one for each request.
    Extra(
        "regex",
        _SGLANG,
        _TEXT,
        "A regular expression that the whole answer matches.",
        "[ab]+",
        support=_CONSTRAINED,
    ),
    Extra(
        "ebnf",
        _SGLANG,
        _TEXT,
        "A grammar in EBNF, whose rule `root` the whole answer matches.",
        'root ::= "a" | "b"',
        support=_CONSTRAINED,
    ),
    Extra(
        "json_schema", _SGLANG, _TEXT, "A JSON schema, as text.", '{"type":"object"}', (COMPLETIONS,), _JSON
    ),
    Extra(
        "response_format",
        _BOTH,
        Object(),
        "As in chat completions; with `type` `structural_tag` too.",
        {"type": "json_object"},
        (COMPLETIONS,),
        _JSON,
    ),
    Extra(
        "structured_outputs",
        _VLLM,
        Object(),
        "One of `json`, `json_object`, `regex`, `choice`, `grammar` (EBNF) and `structural_tag` in an "
        "object.",
        {"choice": ["a", "b"]},
        support=_CONSTRAINED,
    ),
    Extra(
        "guided_json",
        _VLLM,
        Anything(),
        "The older form of `structured_outputs.json`: a schema, or its text.",
        {"type": "object"},
        support=_JSON,
    ),
    Extra(
        "guided_regex",
        _VLLM,
        _TEXT,
        "The older form of `structured_outputs.regex`.",
        "[ab]+",
        support=_CONSTRAINED,
    ),
    Extra(
        "guided_choice",
        _VLLM,
        Choices(MAX_CHOICES),
        "The older form of `structured_outputs.choice`: the answer is one of these texts.",
        ["a", "b"],
        support=_CONSTRAINED,
    ),
    Extra(
        "guided_grammar",
        _VLLM,
        _TEXT,
        "The older form of `structured_outputs.grammar`.",
        'root ::= "a" | "b"',
        support=_CONSTRAINED,
    ),
    # Sampling.
    Extra(
        "top_k",
        _BOTH,
        Whole(-1, INT32_MAX),
        "Keep the likeliest so many tokens; -1 and 0: all.",
        40,
        ALL_ROUTES,
    ),
    Extra(
        "min_p",
        _BOTH,
        Number(0, 1),
        "Least probability of a token, relative to the likeliest one.",
        0.1,
        ALL_ROUTES,
    ),
    Extra(
        "repetition_penalty",
        _BOTH,
        Number(0, 2, above=True),
        "Penalty for tokens that prompt and answer have already; 1: none. It considers the whole context, "
        "unless `options.repeat_last_n` is sent.",
        1.1,
        ALL_ROUTES,
        {"simulator": NAMED},
        named_as="repeat_penalty",
    ),
    Extra(
        "min_tokens",
        _BOTH,
        Whole(0, INT32_MAX),
        "Before so many tokens the end-of-sequence token does "
        "not end the answer. It has no effect under a constraint.",
        4,
        support={"llamacpp": NAMED, "ollama": NAMED},
    ),
    Extra(
        "ignore_eos",
        _BOTH,
        Flag(),
        "Generate until another limit: the end-of-sequence token does not end the answer. It has no effect "
        "under a constraint.",
        True,
        support={"ollama": NAMED},
    ),
    Extra(
        "stop_token_ids",
        _BOTH,
        TokenIds(_MAX_STOP_TOKENS),
        "Tokens that end the answer and are not part of it.",
        [2],
        support={"llamacpp": "yes; named with tools or thinking", "ollama": NAMED},
    ),
    Extra(
        "no_stop_trim",
        _SGLANG,
        Flag(),
        "The text of `stop` that ends the answer is part of it.",
        True,
        support={"ollama": NAMED},
        named_as="include_stop_str_in_output",
    ),
    Extra(
        "include_stop_str_in_output",
        _VLLM,
        Flag(),
        "The same as `no_stop_trim`.",
        True,
        support={"ollama": NAMED},
    ),
    Extra(
        "skip_special_tokens",
        _BOTH,
        Flag(),
        "False shows special tokens as text.",
        False,
        support={"llamacpp": NAMED, "ollama": NAMED},
    ),
    # The prompt.
    Extra(
        "chat_template_kwargs",
        _BOTH,
        Object(),
        "Further arguments of the model's chat template. A boolean `enable_thinking` or `thinking` also "
        "switches the model's thinking, unless an effort is sent. What the server itself gives to the "
        "template cannot be set.",
        {"style": "short"},
        ALL_ROUTES,
        {"simulator": NAMED, "ollama": NAMED},
    ),
    Extra(
        "thinking",
        _SGLANG,
        Anything(),
        "Switches thinking, unless an effort is sent: true, false, or an "
        "object whose `type` is `enabled` or `disabled`.",
        {"type": "disabled"},
        (CHAT,),
    ),
    Extra(
        "continue_final_message",
        _BOTH,
        Flag(),
        "True: the answer continues the last message, which must "
        "be the assistant's; false: it is a new turn. Not set, an assistant's last message is continued, "
        "as in Ollama.",
        True,
        (CHAT,),
        {"llamacpp": "yes; false is named", "ollama": "yes; false is named"},
    ),
    Extra(
        "add_generation_prompt",
        _VLLM,
        Flag(),
        "False: the prompt ends with the last message, without the "
        "beginning of an assistant's turn. Not together with `continue_final_message`.",
        False,
        (CHAT,),
        {"ollama": NAMED},
    ),
    # Routing and caches.
    Extra(
        "cache_salt",
        _BOTH,
        Text(_MAX_KEY_CHARACTERS),
        "Only requests with the same salt share cached "
        "prefixes. A salt counts together with the caller's key, or address without one: another caller "
        "cannot name it.",
        "tenant",
        ALL_ROUTES,
        {"ollama": NAMED},
    ),
    Extra(
        "extra_key",
        _SGLANG,
        Text(_MAX_KEY_CHARACTERS),
        "The older name of `cache_salt`; together they are one salt.",
        "tenant",
        ALL_ROUTES,
        {"ollama": NAMED},
        named_as="cache_salt",
    ),
    Extra(
        "session_id",
        _BOTH,
        Text(_MAX_KEY_CHARACTERS),
        "The same worker is preferred for requests of the "
        "same caller with the same id, with `--policy prefix`. Without it, `prompt_cache_key` is used.",
        "conversation-1",
        ALL_ROUTES,
    ),
    Extra(
        "priority",
        _BOTH,
        Whole(-INT32_MAX, INT32_MAX),
        "Larger is sooner, as in SGLang and in `X-Drover-Priority`, which comes before it; vLLM's sign is "
        "the other one. Bounded by -100 and `--max-priority`; named where that changes it.",
        -1,
        ALL_ROUTES,
        {"ollama": NAMED},
    ),
    Extra(
        "rid",
        _SGLANG,
        Text(_MAX_ID_CHARACTERS, printable=True),
        "The client's id of the request: the answer's `id`, and a field of its log line.",
        "r-1",
    ),
    Extra(
        "request_id",
        _BOTH,
        Text(_MAX_ID_CHARACTERS, printable=True),
        "The same; the answer's `id` has OpenAI's prefix in front of it.",
        "r-1",
    ),
    # The answer.
    Extra(
        "include_reasoning", _VLLM, Flag(), "False leaves the reasoning out of the answer.", False, (CHAT,)
    ),
    Extra(
        "separate_reasoning",
        _SGLANG,
        Flag(),
        "False puts the reasoning into `content`, between `<think>` "
        "and `</think>`. True also names it `reasoning_content`.",
        False,
        (CHAT,),
    ),
    Extra(
        "stream_reasoning",
        _SGLANG,
        Flag(),
        "False sends the reasoning of a stream at once when it has ended.",
        False,
        (CHAT,),
    ),
)


def extras_of(route: str) -> tuple[Extra, ...]:
    return tuple(extra for extra in EXTRAS if route in extra.routes)
