"""A prefix cache: the prompt tokens that the engine computed before, in whole blocks."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from hashlib import blake2b
from struct import pack


class BlockChain:
    """The blocks of one request's tokens: each hash stands for its block and all before it."""

    def __init__(self, salt: str, block_tokens: int) -> None:
        self._root = blake2b(salt.encode(), digest_size=16).digest()
        self._block_tokens = block_tokens
        self.hashes: list[bytes] = []

    def extend(self, ids: Sequence[int]) -> None:
        """Add the whole blocks of `ids`, all tokens so far, that are not in the chain yet."""
        size = self._block_tokens
        last = self.hashes[-1] if self.hashes else self._root
        for at in range(len(self.hashes) * size, len(ids) - size + 1, size):
            last = blake2b(pack(f"<{size}I", *ids[at : at + size]), key=last, digest_size=16).digest()
            self.hashes.append(last)


class PrefixCache:
    """An LRU cache of at most `limit_tokens` tokens."""

    def __init__(self, limit_tokens: int, block_tokens: int) -> None:
        self._block_tokens = block_tokens
        self._limit_blocks = limit_tokens // block_tokens
        self._blocks: OrderedDict[bytes, None] = OrderedDict()

    def chain(self, salt: str) -> BlockChain:
        return BlockChain(salt, self._block_tokens)

    def cached_tokens(self, chain: BlockChain, prompt_tokens: int) -> int:
        """The number of cached tokens at the prompt's beginning, always fewer than the prompt has."""
        usable = chain.hashes[: (prompt_tokens - 1) // self._block_tokens]
        found = next((at for at, block in enumerate(usable) if block not in self._blocks), len(usable))
        self._touch(usable[:found])
        return found * self._block_tokens

    def add(self, chain: BlockChain) -> None:
        self._touch(chain.hashes)
        while len(self._blocks) > self._limit_blocks:
            self._blocks.popitem(last=False)

    def _touch(self, hashes: Sequence[bytes]) -> None:
        # In reverse, so that the last block of a chain is evicted first: the rest stays usable.
        for block in reversed(hashes):
            self._blocks[block] = None
            self._blocks.move_to_end(block)
