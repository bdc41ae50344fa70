"""Check a GenerateRequest, and build the job that the scheduler runs."""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Sequence
from hashlib import blake2b
from itertools import islice
from struct import pack

from drover.errors import CapabilityMissing, InvalidRequest
from drover.thinking import needs_template
from drover.v1 import engine_pb2 as pb
from engine_worker.engines.simulator.batch import Job
from engine_worker.engines.simulator.config import SimulatorConfig
from engine_worker.engines.simulator.output import (
    MAX_TOP,
    Logprobs,
    OutputPlan,
    SimulatedOutput,
    continued_text,
    resume,
    until_token,
)
from engine_worker.engines.simulator.prefix_cache import BlockChain
from engine_worker.engines.simulator.prompt import Prompts
from engine_worker.engines.simulator.script import Event, Script, Scripts
from engine_worker.engines.simulator.text import Book
from engine_worker.engines.simulator.tokens import bytes_of_all
from engine_worker.output.mailbox import Mailbox
from engine_worker.output.tool_calls import is_forced
from engine_worker.prompt.window import Fitted
from engine_worker.schemas.constraint import constraint_of
from engine_worker.schemas.custom_input import not_enforced
from engine_worker.schemas.ebnf_writer import ebnf_text

# Sampling fields without effect here, and the values at which they have no effect in any engine.
_NEUTRAL: dict[str, float] = {
    "repeat_penalty": 1.0,
    "presence_penalty": 0.0,
    "frequency_penalty": 0.0,
    "typical_p": 1.0,
}


class RequestBuilder:
    """Builds the jobs of one engine."""

    def __init__(self, config: SimulatorConfig, prompts: Prompts, book: Book, scripts: Scripts) -> None:
        self._config = config
        self._prompts = prompts
        self._book = book
        self._scripts = scripts

    async def job(self, request: pb.GenerateRequest, chain: BlockChain, mailbox: Mailbox) -> Job:
        """Raises CapabilityMissing, InvalidRequest, ContextExceeded, ConstraintRejected."""
        script = self._scripts.find(self._prompts.question(request)) if self._scripts.entries else None
        # Refused as by an engine that has constraints, also where a script answers.
        await constraint_of(request, ebnf_text)
        self._check(request, script)
        earlier = request.continuation if request.HasField("continuation") else None
        fitted = await self._prompts.fit(request) if earlier is None else _fitted(earlier)
        started = pb.Started(
            prompt_ids=fitted.ids,
            truncated_tokens=fitted.truncated_tokens,
            not_honoured=[*_not_honoured(request, script), *not_enforced(request.chat.tools)],
        )
        room = self._prompts.window(request).size - len(fitted.ids)
        plan = self._output_plan(request, started, script, room)
        output = SimulatedOutput(plan, mailbox)
        if earlier is not None:
            await resume(output, earlier, mailbox)
        return Job(
            prompt_ids=fitted.ids,
            kv_tokens=len(fitted.ids) + min(plan.limit, plan.most_tokens),
            mailbox=mailbox,
            output=output,
            chain=chain,
            earlier=earlier,
        )

    def _check(self, request: pb.GenerateRequest, script: Script | None) -> None:
        if _is_constrained(request) and script is None:
            raise CapabilityMissing("the simulator cannot constrain its output")
        if request.chat.tools and not self._scripts.call_tools:
            raise CapabilityMissing("the simulator cannot call tools unless its script does")
        choice = request.tool_choice
        if is_forced(choice) and (script is None or not script.calls(choice.name)):
            raise CapabilityMissing("the simulator cannot be made to call a tool, its script must do it")
        if request.think.mode == pb.Think.ON and not self._scripts.think:
            raise CapabilityMissing("the simulator cannot think unless its script does")
        if request.top_logprobs > MAX_TOP:
            raise InvalidRequest(f"top_logprobs is {request.top_logprobs}, it must be 0 to {MAX_TOP}")

    def _output_plan(
        self, request: pb.GenerateRequest, started: pb.Started, script: Script | None, room: int
    ) -> OutputPlan:
        sampling = request.sampling
        key = self._key(started.prompt_ids, sampling, request.adapter)
        events, most_tokens = self._events(key, script, sampling, room)
        if script is None and request.continuation.produced_ids:
            events = continued_text(request.continuation.produced_ids, events, not _is_random(sampling))
        if sampling.stop_token_ids:
            events = until_token(events, frozenset(sampling.stop_token_ids))
        logprobs = None
        if request.HasField("top_logprobs"):
            logprobs = Logprobs(self._book.vocabulary, key, request.top_logprobs)
        return OutputPlan(
            events=events,
            most_tokens=most_tokens,
            limit=min(sampling.max_tokens, room) if sampling.HasField("max_tokens") else room,
            stops=sampling.stop,
            key=key,
            started=started,
            logprobs=logprobs,
        )

    def _key(self, prompt_ids: Sequence[int], sampling: pb.Sampling, adapter: str) -> bytes:
        """The key that determines the answer: a hash of the prompt, the adapter and, above temperature 0, of
        the seed.
        """
        key = blake2b(
            pack(f"<{len(prompt_ids)}I", *prompt_ids), key=b"%d" % self._config.seed, digest_size=32
        )
        key.update(adapter.encode())
        if _is_random(sampling):
            key.update(secrets.token_bytes(16))
        elif sampling.temperature > 0:
            key.update(b"seed %d" % sampling.seed)
        return key.digest()

    def _events(
        self, key: bytes, script: Script | None, sampling: pb.Sampling, room: int
    ) -> tuple[Iterator[Event], int]:
        """The answer's events and the most tokens that they have. Scripts play as they are written."""
        if script is not None:
            return script.play(), script.tokens
        text = self._book.write(key)
        if sampling.ignore_eos:
            return text, room
        spread = self._config.answer_tokens_max - self._config.answer_tokens_min + 1
        length = self._config.answer_tokens_min + int.from_bytes(key[:8], "big") % spread
        length = max(length, min(sampling.min_tokens, room))
        return islice(text, length), length


def _is_random(sampling: pb.Sampling) -> bool:
    return sampling.temperature > 0 and not (sampling.HasField("seed") and sampling.seed >= 0)


def _fitted(earlier: pb.Continuation) -> Fitted[None]:
    """The prompt of the first attempt. Raises InvalidRequest for an unknown token id."""
    bytes_of_all([*earlier.prompt_ids, *earlier.produced_ids])
    return Fitted(list(earlier.prompt_ids), earlier.truncated_tokens, None)


def _is_constrained(request: pb.GenerateRequest) -> bool:
    match request.WhichOneof("constraint"):
        case None:
            return False
        case "any_json":
            return request.any_json
        case _:
            return True


def _not_honoured(request: pb.GenerateRequest, script: Script | None) -> list[str]:
    sampling = request.sampling
    set_fields = [(field.name, value) for field, value in sampling.ListFields()]
    names = [name for name, value in set_fields if name in _NEUTRAL and value != _NEUTRAL[name]]
    named = (
        ("logit_bias", bool(sampling.logit_bias)),
        ("min_tokens", script is not None and sampling.min_tokens > script.tokens),
        ("chat_template_kwargs", needs_template(request)),
    )
    return [*names, *(name for name, is_set in named if is_set)]
