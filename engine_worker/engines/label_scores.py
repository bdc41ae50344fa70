"""What engines share about scoring: the request for an item's prompt, and the tokens of its labels."""

from __future__ import annotations

import string
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass

from drover.errors import CapabilityMissing, DroverError, InvalidRequest
from drover.v1 import engine_pb2 as pb
from engine_worker.text_work import check_length

# Text to ids, without the tokens that begin a prompt; ids to text; whether a token is special.
EncodeText = Callable[[str], Awaitable[list[int]]]
DecodeIds = Callable[[list[int]], Awaitable[str]]
IsSpecial = Callable[[int], bool]
# The ids of an item's prompt. Raises InvalidRequest, CapabilityMissing, ContextExceeded.
PromptIds = Callable[[pb.GenerateRequest], Awaitable[list[int]]]

MAX_ITEMS = 2048
MAX_LABELS = 1024
# The labels that decisions use.
DECISION_LABELS = (*string.ascii_uppercase, *string.digits, "yes", "no")
# How many tokens of a prompt's end are read again to find a label's token: the first number at which they
# are the tokens of their own text.
_TAILS = (32, 48, 64, 96)
# A line end before the tail keeps vocabularies from reading a space in front of it.
_LEADS = ("", "\n")


def check_items(request: pb.ScoreRequest) -> None:
    """Raises InvalidRequest for a request without items, with too many, or with one that is not whole."""
    if not 1 <= len(request.items) <= MAX_ITEMS:
        raise InvalidRequest(f"a request has 1 to {MAX_ITEMS} items to score, not {len(request.items)}")
    for number, item in enumerate(request.items):
        check_length(_text_bytes(item))
        if item.labels and item.label_ids:
            raise InvalidRequest(f"item {number} has labels and label_ids; it takes one of the two")
        labels: Sequence[str | int] = item.labels or item.label_ids
        if not 1 <= len(labels) <= MAX_LABELS:
            raise InvalidRequest(f"item {number} has {len(labels)} labels, it must have 1 to {MAX_LABELS}")
        if len(set(labels)) != len(labels):
            raise InvalidRequest(f"the labels of item {number} must differ from each other")


def item_request(request: pb.ScoreRequest, item: pb.ScoreItem) -> pb.GenerateRequest:
    """The request whose prompt is scored: not truncated, and without thinking."""
    prompt = pb.GenerateRequest(cache_salt=request.cache_salt, priority=request.priority)
    prompt.context.truncate = False
    if request.HasField("num_ctx"):
        prompt.context.num_ctx = request.num_ctx
    match item.WhichOneof("input"):
        case "chat":
            prompt.chat.CopyFrom(item.chat)
            prompt.template = request.template
            prompt.think.mode = pb.Think.OFF
        case "raw":
            prompt.raw = item.raw
        case "tokens":
            prompt.tokens.CopyFrom(item.tokens)
        case _:
            raise InvalidRequest("an item has no input: set chat, raw or tokens")
    return prompt


@dataclass(frozen=True, slots=True)
class ScorePrompt:
    """One item: the tokens of its prompt and of its labels."""

    ids: list[int]
    label_ids: list[int]


@dataclass(frozen=True, slots=True)
class _Context:
    """The end of a prompt: its text, and the tokens of that text."""

    text: str
    ids: list[int]


class LabelTokens:
    """Finds the tokens of labels after prompts. Prompts with the same end are examined once."""

    def __init__(self, encode: EncodeText, decode: DecodeIds, is_special: IsSpecial) -> None:
        self._encode = encode
        self._decode = decode
        self._is_special = is_special
        self._contexts: dict[tuple[int, ...], _Context | None] = {}
        self._known: dict[tuple[tuple[int, ...], str], int | None] = {}

    async def of(self, item: pb.ScoreItem, prompt_ids: list[int]) -> list[int]:
        """The item's label ids. Raises CapabilityMissing for a label that is not one token of its own."""
        if item.label_ids:
            return list(item.label_ids)
        found: list[int] = []
        for label in item.labels:
            token = await self._token(label, prompt_ids)
            if token is None or token in found:
                raise CapabilityMissing(
                    f"the label {label!r} is not one distinct token after the prompt in this model's "
                    "vocabulary, so this model cannot decide between these labels"
                )
            found.append(token)
        return found

    async def _token(self, label: str, prompt_ids: list[int]) -> int | None:
        """The one token that the label adds to the prompt; None if it adds more, or changes the prompt's."""
        key = tuple(next(_tails(prompt_ids, self._is_special)))
        if key not in self._contexts:
            self._contexts[key] = await self._context(prompt_ids)
        if (key, label) not in self._known:
            context = self._contexts[key]
            self._known[key, label] = None if context is None else await self._added(context, label)
        return self._known[key, label]

    async def _added(self, context: _Context, label: str) -> int | None:
        ids = await self._encode(context.text + label)
        return ids[-1] if len(ids) == len(context.ids) + 1 and ids[:-1] == context.ids else None

    async def _context(self, prompt_ids: list[int]) -> _Context | None:
        """The shortest end of the prompt whose text has its tokens, so that the rest of the prompt does not
        matter for what follows.
        """
        for tail in _tails(prompt_ids, self._is_special):
            for lead in _LEADS:
                lead_ids = await self._encode(lead) if lead else []
                ids = lead_ids + tail
                text = await self._decode(ids) if ids else ""
                if (await self._encode(text) if text else []) == ids:
                    return _Context(text, ids)
        return None


async def score_prompts(
    request: pb.ScoreRequest, prompt_ids: PromptIds, labels: LabelTokens
) -> list[ScorePrompt]:
    """The prompts of all items. Raises what `prompt_ids` raises and CapabilityMissing."""
    prompts = []
    for item in request.items:
        ids = await prompt_ids(item_request(request, item))
        prompts.append(ScorePrompt(ids, await labels.of(item, ids)))
    return prompts


async def can_decide(prompt_ids: PromptIds, labels: LabelTokens) -> bool:
    """Whether the labels of decisions are one distinct token each after the prompt of a chat."""
    item = pb.ScoreItem(labels=DECISION_LABELS)
    item.chat.messages.add(role="user", content="Answer with one label only.")
    try:
        await labels.of(item, await prompt_ids(item_request(pb.ScoreRequest(), item)))
    except DroverError:
        return False
    return True


def _tails(ids: list[int], is_special: IsSpecial) -> Iterator[list[int]]:
    """Ends of a prompt, the shortest first: what follows its last special token, where that is near; the last
    tokens; all of it. Special tokens are split off before a text is tokenised, so what follows one is
    tokenised by itself.
    """
    last = _last_special(ids[-_TAILS[-1] :], is_special)
    if last is not None:
        yield ids[len(ids) - last :]
    for length in _TAILS:
        if length < len(ids):
            yield ids[-length:]
    yield ids


def _last_special(ids: Sequence[int], is_special: IsSpecial) -> int | None:
    """How many tokens follow the last special one."""
    return next((after for after, token in enumerate(reversed(ids)) if is_special(token)), None)


def _text_bytes(item: pb.ScoreItem) -> int:
    images = (image for message in item.chat.messages for image in message.images)
    return item.ByteSize() - sum(len(image.data) for image in images)
