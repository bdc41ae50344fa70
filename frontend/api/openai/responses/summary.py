"""Summaries of conversations: what the model is asked, and what is kept if it writes none."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from drover.v1 import engine_pb2 as pb
from frontend.api.core.request import ChatRequest, Message
from frontend.api.core.thinking import Think
from frontend.api.generation import Extend
from frontend.api.openai.responses.compaction import Compaction

_ASK = (
    "Do not answer the conversation above, and call no tools. Write a summary of it for an assistant that "
    "continues the work without seeing it: the user's goals, requirements and preferences; what was decided "
    "and done; facts that were found, with the names of files, commands, values and errors; what is still "
    "to do, and the next step. Write only the summary, as plain text."
)
_ASK_AGAIN = f"{_ASK} Your last answer to this had no text; answer with the text of the summary."
_NOT_SUMMARIZED = (
    "The model wrote no summary of the earlier conversation. Its last messages follow; what was before them "
    "is lost."
)
# A summary has at most this part of the model's context, within the two limits in tokens.
_PART_OF_CONTEXT = 4
_MIN_TOKENS, _MAX_TOKENS = 256, 8192
# Characters of the messages that are kept without a summary, for each token of the context: about a quarter
# of it. The number of messages is bounded too.
_CHARACTERS_PER_TOKEN = 1
_MAX_RETAINED = 200


def _nothing(message: pb.GenerateRequest) -> None:
    """The request has no extensions."""


class SummaryRequests:
    """The requests to the model for one conversation. `context_length`: the model's, in tokens. `extend`:
    adds what its other requests have too, so that they find its cached prefix.
    """

    def __init__(
        self,
        chat: ChatRequest,
        tool_choice: pb.ToolChoice,
        context_length: int,
        extend: Extend = _nothing,
    ) -> None:
        self._extend = extend
        self._chat = chat
        self._tool_choice = tool_choice
        self._context_length = context_length
        self._finished, self._unfinished = without_unfinished_calls(chat.messages)

    def first(self) -> tuple[ChatRequest, Extend]:
        """The conversation and its tools stay as they are, so that its prefix is found in the cache."""
        return self._asking(_ASK, self._chat), self._allow_text

    def second(self) -> tuple[ChatRequest, Extend]:
        """Without what may have led the model away from text: tools and thinking."""
        chat = replace(self._chat, tools=[], think=Think(enabled=False), think_optional=True)
        return self._asking(_ASK_AGAIN, chat), self._extend

    def compaction(self, summary: str) -> Compaction:
        return Compaction(summary, self._unfinished)

    def fallback(self) -> Compaction:
        """The last messages of the conversation in place of a summary."""
        budget = max(self._context_length, _MIN_TOKENS) * _CHARACTERS_PER_TOKEN
        return Compaction(_NOT_SUMMARIZED, [*last_messages(self._finished, budget), *self._unfinished])

    def _asking(self, question: str, chat: ChatRequest) -> ChatRequest:
        """Truncate where it is too long, whatever the request says: that is when clients compact."""
        tokens = min(max(self._context_length // _PART_OF_CONTEXT, _MIN_TOKENS), _MAX_TOKENS)
        return replace(
            chat,
            format=None,
            truncate=True,
            options={"num_predict": tokens, **chat.options},
            messages=[*self._finished, Message(role="user", content=question)],
        )

    def _allow_text(self, message: pb.GenerateRequest) -> None:
        """A choice that forces a call would leave no room for text."""
        self._extend(message)
        if self._tool_choice.mode == pb.ToolChoice.NONE:
            message.tool_choice.mode = pb.ToolChoice.NONE


def without_unfinished_calls(messages: Sequence[Message]) -> tuple[list[Message], list[Message]]:
    """The messages without calls that have no result, and a message with those calls, if there are any."""
    results = {message.tool_call_id for message in messages if message.role == "tool"}
    finished: list[Message] = []
    unfinished = []
    for message in messages:
        open_calls = [call for call in message.tool_calls if call.id and call.id not in results]
        if not open_calls:
            finished.append(message)
            continue
        unfinished += open_calls
        with_result = [call for call in message.tool_calls if not call.id or call.id in results]
        rest = replace(message, tool_calls=with_result)
        if rest.content or rest.thinking or rest.tool_calls:
            finished.append(rest)
    return finished, [Message(role="assistant", tool_calls=unfinished)] if unfinished else []


def last_messages(messages: Sequence[Message], max_characters: int) -> list[Message]:
    """The last messages with at most so many characters, without system messages and images. The first of
    them is cut if it does not fit; results whose call is not among them are left out.
    """
    kept: list[Message] = []
    left = max_characters
    for message in reversed(messages):
        if left <= 0 or len(kept) == _MAX_RETAINED:
            break
        if message.role == "system":
            continue
        kept.append(replace(message, content=message.content[-left:], thinking="", images=[]))
        left -= len(message.content) + sum(len(call.arguments_json) for call in message.tool_calls)
    kept.reverse()
    called = {call.id for message in kept for call in message.tool_calls}
    return [message for message in kept if message.role != "tool" or message.tool_call_id in called]
