"""Which prompt tokens an engine has computed before, in whole blocks."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from hashlib import blake2b
from struct import pack


class Chain:
    """The blocks of one request's tokens: each hash stands for its block and all before it."""

    def __init__(self, salt: str, block_tokens: int) -> None:
        self._root = blake2b(salt.encode(), digest_size=16).digest()
        self._block_tokens = block_tokens
        self.hashes: list[bytes] = []

    def extend(self, ids: Sequence[int]) -> None:
        """`ids`: all tokens so far; only whole blocks that are not in the chain yet cost something."""
        size = self._block_tokens
        last = self.hashes[-1] if self.hashes else self._root
        for at in range(len(self.hashes) * size, len(ids) - size + 1, size):
            last = blake2b(pack(f"<{size}I", *ids[at : at + size]), key=last, digest_size=16).digest()
            self.hashes.append(last)


class PrefixCache:
    """Forgets what was used least recently. `limit_tokens`: tokens that it remembers at most."""

    def __init__(self, limit_tokens: int, block_tokens: int) -> None:
        self._block_tokens = block_tokens
        self._limit_blocks = limit_tokens // block_tokens
        self._blocks: OrderedDict[bytes, None] = OrderedDict()

    def chain(self, salt: str) -> Chain:
        return Chain(salt, self._block_tokens)

    def cached_tokens(self, chain: Chain, prompt_tokens: int) -> int:
        """How many tokens at the prompt's beginning need no computing; always fewer than the prompt has."""
        usable = chain.hashes[: (prompt_tokens - 1) // self._block_tokens]
        found = next((at for at, block in enumerate(usable) if block not in self._blocks), len(usable))
        self._touch(usable[:found])
        return found * self._block_tokens

    def add(self, chain: Chain) -> None:
        self._touch(chain.hashes)
        while len(self._blocks) > self._limit_blocks:
            self._blocks.popitem(last=False)

    def _touch(self, hashes: Sequence[bytes]) -> None:
        # Backwards: a block without those before it is worthless, so the last one of a chain goes first.
        for block in reversed(hashes):
            self._blocks[block] = None
            self._blocks.move_to_end(block)
