"""Fitting a prompt into its share of the context window (ollama-contract.md, "Prompts and truncation")."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from drover.errors import ContextExceeded
from drover.v1 import engine_pb2 as pb

Payload = TypeVar("Payload")
Payload_co = TypeVar("Payload_co", covariant=True)

MIN_NUM_CTX = 4
# Ollama's wording.
_NOTHING_TO_DROP = (
    "the prompt is longer than the context length currently available to the model; shorten the prompt, "
    "adjust the context length in settings, or use a model with a longer context length"
)


@dataclass(frozen=True, slots=True)
class Window:
    """A request's share of the context, in tokens.

    `size` is the limit for prompt and answer together, `longest_prompt` the engine's own limit for a prompt.
    The other fields are those of ContextBudget (protos/drover/v1/engine.proto).
    """

    size: int
    truncate: bool
    shift: bool
    num_keep: int
    longest_prompt: int | None = None

    @classmethod
    def of(
        cls, request: pb.GenerateRequest, context_length: int, longest_prompt: int | None = None
    ) -> Window:
        budget = request.context
        wanted = budget.num_ctx if budget.HasField("num_ctx") else context_length
        return cls(
            size=min(max(wanted, MIN_NUM_CTX), context_length),
            truncate=budget.truncate if budget.HasField("truncate") else True,
            shift=budget.shift if budget.HasField("shift") else True,
            num_keep=budget.num_keep,
            longest_prompt=longest_prompt,
        )

    @property
    def prompt_limit(self) -> int:
        """Longest prompt that is not truncated: at least one token is left for the answer."""
        return self._possible(self.size - 1)

    @property
    def truncated_length(self) -> int:
        """Length of a truncated prompt, as in Ollama: half of what follows the kept beginning stays free."""
        return self._possible(self.size - max((self.size - self.kept) // 2, 1))

    @property
    def kept(self) -> int:
        """Tokens that stay at the beginning, as in Ollama: at most all but one, which is the answer's."""
        return min(self.num_keep, self.size - 1)

    def _possible(self, length: int) -> int:
        return length if self.longest_prompt is None else min(length, self.longest_prompt)


@dataclass(frozen=True, slots=True)
class Fitted(Generic[Payload_co]):
    """A prompt that fits into its window.

    `payload` is what the rendering that was chosen returned with its ids; None where nothing was rendered.
    `messages` are the messages of a chat that were kept. `is_cut` is True if tokens are missing from what
    these messages render to, not only whole messages.
    """

    ids: list[int]
    truncated_tokens: int
    payload: Payload_co
    messages: Sequence[pb.Message] = ()
    is_cut: bool = False


def fit_ids(ids: list[int], window: Window) -> Fitted[None]:
    """Keep the first `num_keep` tokens and the newest ones of a prompt that is too long.

    Cutting within a message needs both `truncate` and `shift`. Raises ContextExceeded without either.
    """
    if len(ids) <= window.prompt_limit:
        return Fitted(ids, 0, None)
    if not window.truncate:
        raise ContextExceeded(
            f"the prompt has {len(ids)} tokens, but the context window is {window.size} tokens long; "
            "shorten the prompt, raise num_ctx, or allow truncation",
            prompt_tokens=len(ids),
            context_tokens=window.size,
        )
    if not window.shift:
        raise ContextExceeded(_NOTHING_TO_DROP)
    length = window.truncated_length
    keep = min(window.kept, length)
    return Fitted(ids[:keep] + ids[len(ids) - (length - keep) :], len(ids) - length, None, is_cut=True)


Render = Callable[[Sequence[pb.Message]], Awaitable[tuple[list[int], Payload]]]
Tokens = Callable[[Sequence[pb.Message]], Awaitable[list[int]]]


async def fit_messages(messages: Sequence[pb.Message], window: Window, tokens: Tokens) -> Fitted[None]:
    """Fit a chat as `fit_rendered` does, where a rendering is nothing but its tokens."""

    async def render(kept: Sequence[pb.Message]) -> tuple[list[int], None]:
        return await tokens(kept), None

    return await fit_rendered(messages, window, render)


async def fit_rendered(
    messages: Sequence[pb.Message], window: Window, render: Render[Payload]
) -> Fitted[Payload]:
    """Drop the oldest messages until the rendered rest fits; keep system messages and the last message.

    `render` renders and tokenises a list of messages: the ids, and a payload to return with them. It is
    called about log2(len(messages)) times. Raises ContextExceeded as `fit_ids` does.
    """
    all_messages, messages = messages, _newest_that_can_fit(messages, window)
    whole, payload = await render(messages)
    unrendered = _unrendered_tokens(all_messages, messages, len(whole))
    if len(whole) <= window.prompt_limit or not window.truncate:
        return Fitted(fit_ids(whole, window).ids, unrendered, payload, messages)
    droppable = [at for at, message in enumerate(messages[:-1]) if message.role != "system"]
    best: Fitted[Payload] | None = None
    fewest, most = 1, len(droppable)
    while fewest <= most:
        count = (fewest + most) // 2
        kept = _without(messages, droppable[:count])
        ids, payload = await render(kept)
        if len(ids) <= window.prompt_limit:
            best, most = Fitted(ids, len(whole) - len(ids) + unrendered, payload, kept), count - 1
        else:
            fewest = count + 1
    if best is not None:
        return best
    kept = _without(messages, droppable)
    ids, payload = await render(kept)
    cut = fit_ids(ids, window)
    return Fitted(cut.ids, len(whole) - len(cut.ids) + unrendered, payload, kept, cut.is_cut)


def _newest_that_can_fit(messages: Sequence[pb.Message], window: Window) -> Sequence[pb.Message]:
    """Leave out the oldest messages beyond the window's size: each message takes at least one token."""
    surplus = len(messages) - window.size
    if surplus <= 0 or not window.truncate:
        return messages
    return [message for at, message in enumerate(messages) if at >= surplus or message.role == "system"]


def _unrendered_tokens(
    messages: Sequence[pb.Message], rendered: Sequence[pb.Message], rendered_tokens: int
) -> int:
    """Estimate the tokens of messages that were not rendered from the rendered ones, at least one each."""
    surplus = len(messages) - len(rendered)
    if not surplus:
        return 0
    length = _length(rendered)
    return max(surplus, (_length(messages) - length) * rendered_tokens // length)


def _length(messages: Sequence[pb.Message]) -> int:
    return sum(1 + len(message.content) + len(message.thinking) for message in messages)


def _without(messages: Sequence[pb.Message], dropped: Sequence[int]) -> Sequence[pb.Message]:
    positions = set(dropped)
    return [message for at, message in enumerate(messages) if at not in positions]
