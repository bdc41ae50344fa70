"""Journal of a response: what another worker needs to resume it."""

from __future__ import annotations

from drover.v1 import engine_pb2 as pb


class Journal:
    """Token ids that were produced, and how many characters of them the client has, per kind of text.

    Hot path: it is given each event before the client: a few additions per delta, one number per token.
    """

    def __init__(self) -> None:
        self.started: pb.Started | None = None
        self.produced_ids: list[int] = []
        self.content_characters = 0
        self.thinking_characters = 0
        self.logprobs = 0
        self._completion_tokens = 0
        self._call_ids: list[str] = []
        self._argument_characters: list[int] = []

    @property
    def is_empty(self) -> bool:
        """True if nothing was delivered yet: the request can start again."""
        return not (
            self.produced_ids or self.content_characters or self.thinking_characters or self._call_ids
        )

    @property
    def calls(self) -> int:
        """Number of tool calls begun so far."""
        return len(self._call_ids)

    @property
    def token_counts(self) -> tuple[int, int, int]:
        """Tokens of the prompt, of these cached, and generated. Where a worker sends no ids, those of the
        prompt are not known.
        """
        started = self.started or pb.Started()
        generated = max(len(self.produced_ids), self._completion_tokens)
        return len(started.prompt_ids), started.cached_tokens, generated

    def record(self, event: pb.GenerateEvent) -> None:
        if self.started is None and event.HasField("started"):
            self.started = pb.Started()
            self.started.CopyFrom(event.started)
        for delta in event.deltas:
            self.produced_ids.extend(delta.token_ids)
            self._completion_tokens = delta.completion_tokens
            if content := delta.content:
                self.content_characters += len(content)
            else:
                self._record_other(delta)
            if logprobs := delta.logprobs:
                self.logprobs += len(logprobs)

    def record_token(self, text: str, token_id: int) -> None:
        self.produced_ids.append(token_id)
        self.content_characters += len(text)

    def _record_other(self, delta: pb.Delta) -> None:
        """For a delta without content: it has at most one of content, thinking and tool calls."""
        self.thinking_characters += len(delta.thinking)
        for call in delta.tool_calls:
            self._record_call(call)

    def continuation(self, timings: pb.Timings) -> pb.Continuation:
        """For the request to the next worker. `timings`: those of the attempts so far, summed up."""
        started = self.started or pb.Started()
        return pb.Continuation(
            prompt_ids=started.prompt_ids,
            produced_ids=self.produced_ids,
            content_characters_sent=self.content_characters,
            thinking_characters_sent=self.thinking_characters,
            tool_call_argument_characters_sent=self._argument_characters,
            tool_call_ids_sent=self._call_ids,
            logprobs_sent=self.logprobs,
            timings=timings,
            cached_tokens=started.cached_tokens,
            truncated_tokens=started.truncated_tokens,
        )

    def _record_call(self, call: pb.ToolCallDelta) -> None:
        while len(self._call_ids) <= call.index:
            self._call_ids.append("")
            self._argument_characters.append(0)
        if call.id:
            self._call_ids[call.index] = call.id
        self._argument_characters[call.index] += len(call.arguments_fragment)
