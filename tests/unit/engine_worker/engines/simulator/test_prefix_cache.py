from __future__ import annotations

import pytest

from engine_worker.engines.simulator.prefix_cache import PrefixCache


def remember(cache: PrefixCache, ids: list[int], salt: str = "") -> None:
    chain = cache.chain(salt)
    chain.extend(ids)
    cache.add(chain)


def cached(cache: PrefixCache, ids: list[int], salt: str = "") -> int:
    chain = cache.chain(salt)
    chain.extend(ids)
    return cache.cached_tokens(chain, len(ids))


IDS = list(range(100, 140))


@pytest.mark.parametrize(
    ("ids", "tokens"),
    [
        (IDS, 40 - 4),
        (IDS[:39], 36),
        ([*IDS, 7], 40),
        (IDS[:8], 4),
        (IDS[:4], 0),
        (IDS[:3], 0),
        ([*IDS[:20], 0, *IDS[21:]], 20),
        ([0, *IDS[1:]], 0),
    ],
)
def test_whole_blocks_from_the_beginning_are_found_but_never_the_last_token(
    ids: list[int], tokens: int
) -> None:
    cache = PrefixCache(1000, 4)
    remember(cache, IDS)
    assert cached(cache, ids) == tokens


def test_salts_do_not_share() -> None:
    cache = PrefixCache(1000, 4)
    remember(cache, IDS, "a")
    assert cached(cache, IDS, "b") == 0
    assert cached(cache, IDS, "a") == 36


def test_eviction_is_lru_and_from_the_end_of_a_chain() -> None:
    cache = PrefixCache(60, 4)
    remember(cache, IDS)
    remember(cache, list(range(20)))
    assert cached(cache, [*IDS, 7]) == 40
    remember(cache, list(range(1000, 1020)))
    assert cached(cache, [*IDS, 7]) == 40
    assert cached(cache, list(range(20))) == 0
    remember(cache, list(range(2000, 2040)))
    assert cached(cache, IDS) == 20


def test_extending_a_chain_piece_by_piece_is_extending_it_at_once() -> None:
    cache = PrefixCache(1000, 4)
    whole, grown = cache.chain(""), cache.chain("")
    whole.extend(IDS)
    for length in (3, 4, 9, 10, 40):
        grown.extend(IDS[:length])
    assert grown.hashes == whole.hashes
