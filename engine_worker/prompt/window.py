"""Fitting a prompt into its share of the context window (ollama-contract.md, "Prompts and truncation")."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from drover.errors import ContextExceeded
from drover.v1 import engine_pb2 as pb

MIN_NUM_CTX = 4
# In upstream's words.
_NOTHING_TO_DROP = (
    "the prompt is longer than the context length currently available to the model; shorten the prompt, "
    "adjust the context length in settings, or use a model with a longer context length"
)


@dataclass(frozen=True, slots=True)
class Window:
    """`size`: tokens of prompt and answer together; `longest_prompt`: what the engine takes of them as a
    prompt; the other fields as in ContextBudget.
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
        """One token of the window is the answer's at least."""
        return self._possible(self.size - 1)

    @property
    def truncated_length(self) -> int:
        """What a prompt is cut down to, as by Ollama: half of what does not begin it for good stays free."""
        return self._possible(self.size - max((self.size - self.kept) // 2, 1))

    @property
    def kept(self) -> int:
        """Tokens at the beginning that stay, as by Ollama: up to all but the one of the answer."""
        return min(self.num_keep, self.size - 1)

    def _possible(self, length: int) -> int:
        return length if self.longest_prompt is None else min(length, self.longest_prompt)


@dataclass(frozen=True, slots=True)
class Fitted:
    """`messages`: of a chat, those that stayed; `is_cut`: the beginning of what they render to is missing."""

    ids: list[int]
    truncated_tokens: int
    messages: Sequence[pb.Message] = ()
    is_cut: bool = False


def fit_ids(ids: list[int], window: Window) -> Fitted:
    """Keeps the first `num_keep` tokens and the newest ones: with `truncate` whole messages may go, and with
    `shift` what is in them. Raises ContextExceeded without either.
    """
    if len(ids) <= window.prompt_limit:
        return Fitted(ids, 0)
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
    return Fitted(ids[:keep] + ids[len(ids) - (length - keep) :], len(ids) - length, is_cut=True)


def _that_can_fit(messages: Sequence[pb.Message], window: Window) -> Sequence[pb.Message]:
    """Each message takes a token at least: of more than the window holds, the oldest are not rendered."""
    surplus = len(messages) - window.size
    if surplus <= 0 or not window.truncate:
        return messages
    return [message for at, message in enumerate(messages) if at >= surplus or message.role == "system"]


def _tokens_unseen(
    messages: Sequence[pb.Message], rendered: Sequence[pb.Message], rendered_tokens: int
) -> int:
    """Of messages that were not rendered, by the length that the others have: one token each at least."""
    surplus = len(messages) - len(rendered)
    if not surplus:
        return 0
    length = _length(rendered)
    return max(surplus, (_length(messages) - length) * rendered_tokens // length)


def _length(messages: Sequence[pb.Message]) -> int:
    return sum(1 + len(message.content) + len(message.thinking) for message in messages)


Tokens = Callable[[Sequence[pb.Message]], Awaitable[list[int]]]


async def fit_messages(messages: Sequence[pb.Message], window: Window, tokens: Tokens) -> Fitted:
    """Drops the oldest messages until the rendered rest fits; system messages and the last one stay.

    `tokens` renders and tokenises a list of messages. Called about log2(len(messages)) times.
    """
    all_messages, messages = messages, _that_can_fit(messages, window)
    whole = await tokens(messages)
    unseen = _tokens_unseen(all_messages, messages, len(whole))
    if len(whole) <= window.prompt_limit or not window.truncate:
        return Fitted(fit_ids(whole, window).ids, unseen, messages)
    droppable = [at for at, message in enumerate(messages[:-1]) if message.role != "system"]
    best: Fitted | None = None
    fewest, most = 1, len(droppable)
    while fewest <= most:
        count = (fewest + most) // 2
        kept = _without(messages, droppable[:count])
        ids = await tokens(kept)
        if len(ids) <= window.prompt_limit:
            best, most = Fitted(ids, len(whole) - len(ids) + unseen, kept), count - 1
        else:
            fewest = count + 1
    if best is not None:
        return best
    kept = _without(messages, droppable)
    fitted = fit_ids(await tokens(kept), window)
    return Fitted(fitted.ids, len(whole) - len(fitted.ids) + unseen, kept, fitted.is_cut)


def _without(messages: Sequence[pb.Message], dropped: Sequence[int]) -> Sequence[pb.Message]:
    places = set(dropped)
    return [message for at, message in enumerate(messages) if at not in places]
