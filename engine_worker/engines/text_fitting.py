"""Texts that may be longer than a model's context: tokenise no more of them than is needed."""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import NamedTuple

from drover.errors import ContextExceeded, InvalidRequest

# A text, and whether to add the tokens that the model wants around it.
TokenizeText = Callable[[str, bool], Awaitable[list[int]]]

# How much of a long text is tokenised first: enough to fill the window in most languages.
_CHARACTERS_PER_TOKEN = 8
_MORE = 4
# The last tokens of a cut text may differ from those of the whole text.
_CUT_TOKENS = 32
_ANY_TEXT = "a"
# Ollama leaves room for BOS and EOS in a text that it cuts, also where the model adds none.
_COUNTED_SPECIALS = 2


class Beginning(NamedTuple):
    """The tokens of a text, or of its first `characters`. `total`: those of the whole text; of what was not
    tokenised it is assumed to have as many tokens per character.
    """

    ids: list[int]
    total: int
    characters: int


async def beginning(tokenize: TokenizeText, text: str, limit: int, add_special: bool) -> Beginning:
    """Tokenise a text, or at least as much of it that the first `limit` tokens are those of the whole."""
    enough = limit + _CUT_TOKENS
    characters = enough * _CHARACTERS_PER_TOKEN
    ids = await tokenize(text[:characters], add_special)
    while len(ids) <= enough and characters < len(text):
        characters *= _MORE
        ids = await tokenize(text[:characters], add_special)
    unread = max(0, len(text) - characters)
    total = len(ids) + math.ceil(len(ids) * unread / max(1, len(text) - unread))
    return Beginning(ids, total, len(text) - unread)


class Fitted(NamedTuple):
    ids: list[int]
    truncated_tokens: int = 0


@dataclass(frozen=True, slots=True)
class Fitting:
    """Cuts texts to `limit` tokens, or refuses them unless `truncate`."""

    tokenize: TokenizeText
    limit: int
    truncate: bool

    async def fitted(self, text: str) -> Fitted:
        ids, total, _ = await beginning(self.tokenize, text, self.limit, add_special=True)
        if not ids:
            return Fitted(await self._stand_in())
        if len(ids) <= self.limit:
            return Fitted(ids)
        if not self.truncate:
            raise ContextExceeded("the input length exceeds the context length")
        added, suffix = await self._ends()
        length = self.limit - max(0, _COUNTED_SPECIALS - added)
        if length <= added:
            raise ContextExceeded("input exceeds maximum context length and cannot be truncated further")
        return Fitted(ids[: length - len(suffix)] + suffix, total - length)

    async def _ends(self) -> tuple[int, list[int]]:
        """Return the number of tokens that the model adds to a text, and those at the end, for example [SEP],
        whose vector may be the text's.
        """
        whole, bare = await self.tokenize(_ANY_TEXT, True), await self.tokenize(_ANY_TEXT, False)
        for at in range(len(whole) - len(bare) + 1):
            if whole[at : at + len(bare)] == bare:
                return len(whole) - len(bare), whole[at + len(bare) :]
        return 0, []

    async def _stand_in(self) -> list[int]:
        """The tokens in place of a text without tokens, which would have no vector."""
        ids = await self.tokenize(" ", True)
        if not ids:
            raise InvalidRequest("there is nothing to embed in this text")
        return ids[: max(1, self.limit)]
