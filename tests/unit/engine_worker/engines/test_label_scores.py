"""The tokens of labels after prompts, and what a request to score may be."""

from __future__ import annotations

import pytest

from drover.errors import CapabilityMissing, InvalidRequest
from drover.v1 import engine_pb2 as pb
from engine_worker.engines.label_scores import LabelTokens, can_decide, check_items, item_request

_END_OF_TURN = 1000


class Words:
    """A vocabulary of letters and whole words. `merged` texts are one token; <e> is a special token."""

    def __init__(self, *merged: str) -> None:
        self._merged = sorted(merged, key=len, reverse=True)
        self.encoded: list[str] = []

    async def encode(self, text: str) -> list[int]:
        self.encoded.append(text)
        ids: list[int] = []
        while text:
            if text.startswith("<e>"):
                ids, text = [*ids, _END_OF_TURN], text.removeprefix("<e>")
                continue
            piece = next((each for each in self._merged if text.startswith(each)), text[0])
            ids.append(2000 + self._merged.index(piece) if piece in self._merged else ord(piece))
            text = text.removeprefix(piece)
        return ids

    async def decode(self, ids: list[int]) -> str:
        return "".join(
            "<e>" if each == _END_OF_TURN else self._merged[each - 2000] if each >= 2000 else chr(each)
            for each in ids
        )

    def labels(self) -> LabelTokens:
        return LabelTokens(self.encode, self.decode, lambda token: token == _END_OF_TURN)

    async def find(self, prompt: str, *labels: str) -> list[int]:
        return await self.labels().of(pb.ScoreItem(labels=labels), await self.encode(prompt))


async def test_a_label_is_the_one_token_that_it_adds() -> None:
    words = Words("yes", "no")
    assert await words.find("well<e>a\n", "yes", "no", "A") == await words.encode("yesnoA")


@pytest.mark.parametrize(
    ("prompt", "labels"),
    [
        ("well<e>a\n", ["yes", "perhaps"]),  # more tokens than one
        ("well<e>a\n", ["yes", ""]),  # none
        ("say y", ["es", "no"]),  # the prompt's last token changes
        ("well<e>a\n", ["yes", "yes"]),  # the same token twice
    ],
)
async def test_other_labels_are_refused(prompt: str, labels: list[str]) -> None:
    with pytest.raises(CapabilityMissing, match="is not one distinct token after the prompt"):
        await Words("yes", "no", "es").find(prompt, *labels)


async def test_a_prompt_that_ends_with_a_special_token_is_tokenised_apart_from_labels() -> None:
    words = Words("yes", "no", "y<e>es")
    assert await words.find("say y<e>", "yes") == await words.encode("yes")


async def test_a_long_prompt_is_not_tokenised_again_for_each_label() -> None:
    words = Words("yes", "no")
    ids, labels = await words.encode("x" * 10_000 + "\n"), words.labels()
    words.encoded.clear()
    for _ in range(3):
        await labels.of(pb.ScoreItem(labels=["yes", "no"]), ids)
    assert max(map(len, words.encoded)) < 100
    assert len(words.encoded) == len(set(words.encoded)) == 3


async def test_prompts_with_other_ends_are_looked_at_by_themselves() -> None:
    words = Words("yes", "yyes")
    labels, item = words.labels(), pb.ScoreItem(labels=["yes"])
    assert await labels.of(item, await words.encode("say:")) == await words.encode("yes")
    with pytest.raises(CapabilityMissing):
        await labels.of(item, await words.encode("say:y"))


async def test_a_model_decides_only_if_every_label_of_decisions_is_a_token() -> None:
    async def prompt(request: pb.GenerateRequest) -> list[int]:
        return [_END_OF_TURN]

    async def refused(request: pb.GenerateRequest) -> list[int]:
        raise CapabilityMissing("this model always thinks")

    assert await can_decide(prompt, Words("yes", "no").labels())
    assert not await can_decide(prompt, Words("yes").labels())
    assert not await can_decide(refused, Words("yes", "no").labels())


def test_a_chat_is_scored_without_thinking_and_nothing_is_truncated() -> None:
    request = pb.ScoreRequest(template="{{ .Prompt }}", num_ctx=99, cache_salt="s", priority=3)
    item = pb.ScoreItem(labels=["A"])
    item.chat.messages.add(role="user", content="x")
    made = item_request(request, item)
    assert made.think.mode == pb.Think.OFF
    assert (made.context.truncate, made.context.num_ctx) == (False, 99)
    assert (made.template, made.cache_salt, made.priority) == ("{{ .Prompt }}", "s", 3)
    raw = item_request(request, pb.ScoreItem(raw="x"))
    assert (raw.template, raw.think.mode, raw.raw) == ("", pb.Think.UNSET, "x")


@pytest.mark.parametrize(
    ("items", "message"),
    [
        ([], "1 to 2048 items"),
        ([pb.ScoreItem(raw="x")] * 2049, "1 to 2048 items"),
        ([pb.ScoreItem(raw="x")], "0 labels"),
        ([pb.ScoreItem(raw="x", labels=["A"], label_ids=[1])], "labels and label_ids"),
        ([pb.ScoreItem(raw="x", label_ids=[1, 1])], "must differ"),
        ([pb.ScoreItem(raw="x", label_ids=range(1025))], "1025 labels"),
        ([pb.ScoreItem(raw="x" * (9 << 20), labels=["A"])], "too long"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_requests_out_of_bounds_are_refused(items: list[pb.ScoreItem], message: str) -> None:
    with pytest.raises(InvalidRequest, match=message):
        check_items(pb.ScoreRequest(items=items))


def test_an_item_needs_an_input() -> None:
    with pytest.raises(InvalidRequest, match="no input"):
        item_request(pb.ScoreRequest(), pb.ScoreItem(labels=["A"]))
