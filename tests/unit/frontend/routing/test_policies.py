"""Load-balancing policies, and known failures of other routers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import pytest

from drover.v1 import engine_pb2 as pb
from frontend.routing.policies import PolicyName, policy_of
from frontend.routing.policies.affinity import affinity_of
from frontend.routing.policies.base import Policy, pick_one
from frontend.routing.policies.least_load import LeastLoad
from frontend.routing.policies.prefix import Prefix

_KEYS = [number.to_bytes(4, "big") for number in range(400)]


@dataclass(eq=False)
class Worker:
    """Implements Candidate."""

    address: str
    load: float = 0
    waiting_prompt_tokens: float = 0


def _workers(count: int = 8) -> list[Worker]:
    return [Worker(f"10.0.0.{number}:50051") for number in range(count)]


def _pick(policy: Policy, workers: Sequence[Worker], key: bytes | None) -> Worker:
    chosen = pick_one(policy, workers, key)
    assert chosen is not None
    return chosen


def _send(policy: Policy, workers: list[Worker], key: bytes | None) -> Worker:
    chosen = _pick(policy, workers, key)
    chosen.load += 1
    return chosen


@pytest.mark.parametrize("name", ["prefix", "least_load", "round_robin", "power_of_two"])
def test_one_worker_is_enough(name: PolicyName) -> None:
    only = _workers(1)

    assert _pick(policy_of(name), only, b"key") is only[0]
    assert _pick(policy_of(name), only, None) is only[0]


def test_all_frontends_pick_alike() -> None:
    there, here = Prefix(), Prefix()

    for key in _KEYS:
        assert _pick(there, _workers(), key).address == _pick(here, _workers()[::-1], key).address


def test_a_conversation_stays_where_it_is() -> None:
    policy, workers = Prefix(), _workers()

    assert len({_pick(policy, workers, b"conversation").address for _ in range(20)}) == 1


def test_keys_are_spread_evenly() -> None:
    policy = Prefix()
    counts = Counter(_pick(policy, _workers(), key).address for key in _KEYS)

    assert len(counts) == 8
    assert max(counts.values()) < 2 * len(_KEYS) / 8


def test_most_keys_stay_when_a_worker_comes_or_goes() -> None:
    policy = Prefix()
    before = [_pick(policy, _workers(8), key).address for key in _KEYS]
    after = [_pick(policy, _workers(7), key).address for key in _KEYS]

    moved = sum(one != other for one, other in zip(before, after, strict=True))
    assert moved < 2 * len(_KEYS) / 8


def test_a_miss_does_not_go_to_the_busiest() -> None:
    """sgl-project/sglang#14305: an unknown key went to the worker with the smallest tree, the busiest."""
    policy, workers = Prefix(), _workers()
    workers[3].load = 100

    assert all(_pick(policy, workers, key) is not workers[3] for key in _KEYS)


def test_one_hot_worker_ends_no_affinity_but_its_own() -> None:
    """vllm-project/router#238: one hot worker switched affinity off for the whole fleet."""
    policy, workers = Prefix(), _workers()
    homes = {key: _pick(policy, workers, key) for key in _KEYS}
    workers[3].load = 100

    kept = [key for key in _KEYS if homes[key] is not workers[3]]
    assert all(_pick(policy, workers, key) is homes[key] for key in kept)


def test_imbalance_drops_no_locality() -> None:
    """sgl-project/sglang#32195: a conversation that cannot stay goes to the same other worker each time."""
    policy, workers = Prefix(), _workers()
    home = _pick(policy, workers, b"conversation")
    home.load = 100

    assert len({_pick(policy, workers, b"conversation").address for _ in range(20)}) == 1


def test_an_idle_fleet_is_not_one_worker() -> None:
    """LocalAI: at low load all requests went to one node, here a prompt that all share."""
    policy, workers = Prefix(), _workers()
    for _ in range(8):
        _send(policy, workers, b"the same for all")

    assert max(each.load for each in workers) <= 2


@pytest.mark.parametrize("requests", [50, 400])
def test_no_worker_gets_much_more_than_its_share(requests: int) -> None:
    policy, workers = Prefix(), _workers()
    for number in range(requests):
        _send(policy, workers, _KEYS[number % 5])

    assert max(each.load for each in workers) <= 1.25 * requests / 8 + 1


def test_the_least_loaded_is_no_fixed_one_of_many() -> None:
    """sgl-project/sglang#6164: ties went to the first worker."""
    workers = _workers()

    assert len({_pick(LeastLoad(), workers, None).address for _ in range(200)}) == 8


def test_waiting_prompt_tokens_count_as_load() -> None:
    workers = _workers(2)
    workers[0].waiting_prompt_tokens = 10_000
    workers[1].load = 5

    assert _pick(LeastLoad(), workers, None) is workers[1]


def _chat(*contents: str, salt: str = "", tool: str = "") -> pb.GenerateRequest:
    roles = ("system", "user", "assistant", "user")
    request = pb.GenerateRequest(cache_salt=salt)
    for role, content in zip(roles, contents, strict=False):
        request.chat.messages.add(role=role, content=content)
    if tool:
        request.chat.tools.add(name=tool)
    return request


_SYSTEM = "You are a shepherd. " * 50


def test_turns_of_a_conversation_are_alike() -> None:
    first = affinity_of(_chat(_SYSTEM, "hello"), "d")

    assert first is not None
    assert affinity_of(_chat(_SYSTEM, "hello", "hi", "and now?"), "d") == first


@pytest.mark.parametrize(
    ("request_", "digest"),
    [
        (_chat(_SYSTEM, "good bye"), "d"),
        (_chat(_SYSTEM + "!", "hello"), "d"),
        (_chat(_SYSTEM, "hello", salt="s"), "d"),
        (_chat(_SYSTEM, "hello", tool="look"), "d"),
        (_chat(_SYSTEM, "hello"), "another model"),
    ],
)
def test_fields_that_change_the_affinity_key(request_: pb.GenerateRequest, digest: str) -> None:
    assert affinity_of(request_, digest) != affinity_of(_chat(_SYSTEM, "hello"), "d")


def test_a_short_prompt_has_no_affinity() -> None:
    assert affinity_of(_chat("Be brief.", "hello"), "d") is None
    assert affinity_of(pb.GenerateRequest(raw="hello"), "d") is None
    assert affinity_of(pb.GenerateRequest(raw="hello" * 500), "d") is not None


@pytest.mark.parametrize(
    "make",
    [
        lambda text: _chat(text, "hello"),
        lambda text: _chat("Be brief.", text),
        lambda text: pb.GenerateRequest(raw=text),
        lambda text: pb.GenerateRequest(prompt=pb.PromptInput(text=text)),
        lambda text: pb.GenerateRequest(prompt=pb.PromptInput(text="hello", system=text)),
    ],
)
def test_of_a_long_text_the_beginning_decides(make: Callable[[str], pb.GenerateRequest]) -> None:
    """Megabytes are not hashed while other requests wait."""
    first = affinity_of(make("a" * 1_000_000 + "b"), "d")

    assert first is not None
    assert affinity_of(make("a" * 1_000_000 + "c"), "d") == first
    assert affinity_of(make("b" + "a" * 1_000_000), "d") != first


def test_several_short_messages_are_no_short_prompt() -> None:
    assert affinity_of(_chat("Be brief.", *["and so on" * 20] * 3), "d") is not None


def test_a_context_is_what_turns_have_in_common() -> None:
    turns = [
        pb.GenerateRequest(prompt=pb.PromptInput(text=text, context=range(500))) for text in ("one", "two")
    ]

    assert affinity_of(turns[0], "d") == affinity_of(turns[1], "d") is not None


def test_workers_that_are_no_candidates_now_change_nothing_for_the_others() -> None:
    """A policy that has seen a hundred picks of some of them as one that knows only these."""
    workers = tuple(_workers(100))
    policy = Prefix()
    _pick(policy, workers, b"all are known")
    for some in (workers[:7], workers[50:], workers[::3], workers[40:42]):
        assert all(_pick(policy, some, key) is _pick(Prefix(), some, key) for key in _KEYS)


def test_a_list_may_change_between_two_picks() -> None:
    policy, workers = Prefix(), _workers(3)
    gone = _pick(policy, workers, b"key")
    workers.remove(gone)

    assert _pick(policy, workers, b"key") is not gone


def test_a_routing_key_replaces_the_beginning_of_the_prompt() -> None:
    def key(text: str, routing_key: str = "", salt: str = "") -> bytes | None:
        return affinity_of(pb.GenerateRequest(raw=text, routing_key=routing_key, cache_salt=salt), "d")

    assert key("short") is None
    assert key("short", "a") == key("x" * 2000, "a") != key("short", "b")
    assert key("short", "a") != key("short", "a", "salt")
