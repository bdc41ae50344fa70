"""The extensions' fields of one request, and what they change in it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from drover.digests import digest_of
from drover.errors import InvalidRequest
from drover.json_value import Json
from drover.v1 import engine_pb2 as pb
from frontend.api.core.go_json import dump_text
from frontend.api.core.ignored_fields import Fields, Refusal, refused
from frontend.api.core.request import Message
from frontend.api.core.thinking import Think
from frontend.api.core.typed_fields import Reader
from frontend.api.openai.extras.constraints import STRUCTURED_FIELDS, Constraint, only_constraint
from frontend.api.openai.extras.reasoning import ReasoningStyle
from frontend.api.openai.extras.table import extras_of
from frontend.api.openai.extras.unread import REFUSALS

REFUSED: Mapping[str, Refusal] = {
    refusal.name: refused(f"{refusal.name} is refused: {refusal.about}") for refusal in REFUSALS
}
INNER: Mapping[str, Fields] = {"structured_outputs": STRUCTURED_FIELDS}
# Ollama's value for the whole context.
_WHOLE_CONTEXT = -1
_THINKING_TYPES: Mapping[Json, bool] = {"enabled": True, "disabled": False}


def readers_of(route: str) -> dict[str, Reader]:
    return {extra.name: extra.kind.read for extra in extras_of(route)}


@dataclass(slots=True)
class Extras:
    """The fields that are set; None: not set. `constraint`: what all fields that constrain the answer say."""

    constraint: Constraint | None = None
    top_k: int | None = None
    min_p: float | None = None
    repetition_penalty: float | None = None
    min_tokens: int = 0
    ignore_eos: bool = False
    stop_token_ids: list[int] = field(default_factory=list)
    no_stop_trim: bool = False
    include_stop_str_in_output: bool = False
    skip_special_tokens: bool = True
    chat_template_kwargs: dict[str, Json] = field(default_factory=dict)
    thinking: Json = None
    continue_final_message: bool | None = None
    add_generation_prompt: bool | None = None
    cache_salt: str = ""
    extra_key: str = ""
    session_id: str = ""
    priority: int | None = None
    rid: str = ""
    request_id: str = ""
    include_reasoning: bool = True
    separate_reasoning: bool | None = None
    stream_reasoning: bool | None = None

    @classmethod
    def take(
        cls, values: dict[str, object], route: str, response_format: dict[str, Json] | None = None
    ) -> Extras:
        """Take the extensions out of a body's fields. Raises InvalidRequest for several constraints."""
        make: Callable[..., Extras] = cls
        own = {name: values.pop(name) for name in readers_of(route) if name in values}
        constraint = only_constraint(own, response_format)
        return make(constraint, **{name: own[name] for name in own.keys() & _FIELDS})

    @property
    def format(self) -> Json:
        """The neutral request's format."""
        return self.constraint.format if self.constraint is not None else None

    def options(self, sent: Mapping[str, Json]) -> dict[str, Json]:
        """The fields that Ollama has an option for. `sent`: the options that the request has itself."""
        options: dict[str, Json] = {
            "top_k": None if self.top_k is None else max(0, self.top_k),
            "min_p": self.min_p,
            "repeat_penalty": self.repetition_penalty,
        }
        if self.repetition_penalty is not None and sent.get("repeat_last_n") is None:
            options["repeat_last_n"] = _WHOLE_CONTEXT
        return {name: value for name, value in options.items() if value is not None}

    def think(self) -> Think | None:
        """The thinking that `thinking` or the template's arguments switch; None if they do not."""
        kwargs = self.chat_template_kwargs
        wanted = self.thinking
        if isinstance(wanted, dict):
            kind = wanted.get("type")
            wanted = _THINKING_TYPES.get(kind) if isinstance(kind, str) else None
        for value in (wanted, kwargs.get("enable_thinking"), kwargs.get("thinking")):
            if isinstance(value, bool):
                # A model that cannot think does not refuse it.
                return Think(value, alias="")
        return None

    def response_id(self, kind: str) -> str:
        """The answer's id, if the client chose one; else empty. `kind`: OpenAI's prefix of such ids."""
        return self.rid or (f"{kind}-{self.request_id}" if self.request_id else "")

    @property
    def not_honoured(self) -> list[str]:
        """Names of fields whose values mean nothing here."""
        return ["thinking"] if self.thinking not in (None, {}) and self.think() is None else []

    @property
    def log_fields(self) -> dict[str, str]:
        """The client's ids, for the request's log line."""
        named = {"rid": self.rid, "client_request_id": self.request_id, "session_id": self.session_id}
        return {name: value for name, value in named.items() if value}

    @property
    def reasoning_style(self) -> ReasoningStyle | None:
        style = ReasoningStyle(
            is_shown=self.include_reasoning,
            is_separate=self.separate_reasoning is not False,
            is_streamed=self.stream_reasoning is not False,
            has_both_names=bool(self.separate_reasoning),
        )
        return None if style == ReasoningStyle() else style

    def check_max_tokens(self, max_tokens: int | None) -> None:
        """Raises InvalidRequest for a minimum above the maximum."""
        if max_tokens is not None and 0 < max_tokens < self.min_tokens:
            raise InvalidRequest(f"min_tokens must be in [0, max_tokens={max_tokens}], got {self.min_tokens}")

    def check_messages(self, messages: list[Message]) -> None:
        """Raises InvalidRequest where the last message cannot be continued as asked for."""
        if not self.continue_final_message:
            return
        if self.add_generation_prompt:
            raise InvalidRequest(
                "Cannot set both `continue_final_message` and `add_generation_prompt` to True"
            )
        if not messages or messages[-1].role != "assistant" or messages[-1].tool_calls:
            raise InvalidRequest(
                "continue_final_message: the last message must be the assistant's, and without tool calls"
            )

    def set_in(self, message: pb.GenerateRequest, caller: str, prompt_cache_key: str = "") -> None:
        """Add to the engine's request what the neutral one does not have. `caller`: the client's name in the
        fair queue, with which its salt and its routing key count.
        """
        if self.constraint is not None:
            self.constraint.set_in(message)
        self._set_sampling(message.sampling)
        self._set_prompt(message)
        if self.cache_salt or self.extra_key:
            message.cache_salt = digest_of([caller, self.cache_salt, self.extra_key]).hex()
        if key := self.session_id or prompt_cache_key:
            message.routing_key = digest_of([caller, key]).hex()

    def _set_sampling(self, sampling: pb.Sampling) -> None:
        sampling.min_tokens = self.min_tokens
        sampling.ignore_eos = self.ignore_eos
        sampling.stop_token_ids.extend(self.stop_token_ids)
        sampling.include_stop = self.no_stop_trim or self.include_stop_str_in_output
        sampling.show_special_tokens = not self.skip_special_tokens

    def _set_prompt(self, message: pb.GenerateRequest) -> None:
        if self.chat_template_kwargs:
            message.template_arguments_json = dump_text(self.chat_template_kwargs)
        if message.WhichOneof("input") != "chat":
            return
        if self.add_generation_prompt is not None or self.continue_final_message is False:
            message.chat.continue_last = bool(self.continue_final_message)
        message.chat.no_generation_prompt = (
            self.add_generation_prompt is False and not message.chat.continue_last
        )


_FIELDS = Extras.__dataclass_fields__.keys() - {"constraint"}
