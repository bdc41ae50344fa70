from __future__ import annotations

import pytest

from frontend.decision.question import Question

_STATE = "Customer: I was charged twice and want my money back."


def _prompt(question: Question) -> str:
    return question.item(_STATE).chat.messages[0].content


def test_yes_or_no() -> None:
    question = Question.yes_no("The customer asks for a refund.")
    assert _prompt(question) == (
        f"{_STATE}\n\nIs the following true? The customer asks for a refund.\nAnswer with yes or no only."
    )
    assert list(question.item(_STATE).labels) == ["yes", "no"]
    described = Question.yes_no("", yes="a refund is due", no="")
    assert _prompt(described).endswith(
        "\n\nIs the following true?\nyes: a refund is due\nAnswer with yes or no only."
    )


def test_a_choice_has_letters() -> None:
    question = Question("choice", "Which team?", ["billing", "shipping"], ["payments and refunds", ""])
    assert _prompt(question) == (
        f"{_STATE}\n\nQuestion: Which team?\nA: billing - payments and refunds\nB: shipping\n"
        "Answer with the letter of one option only."
    )
    assert list(question.labels) == ["A", "B"]
    without_text = Question("choice", "", ["a", "b"], ["", ""])
    assert _prompt(without_text).startswith(f"{_STATE}\n\nA: a\nB: b\n")


def test_a_score_has_digits_and_beyond_ten_levels_letters() -> None:
    question = Question.score("How urgent?", ["can wait", "soon", "now"])
    assert _prompt(question) == (
        f"{_STATE}\n\nQuestion: How urgent?\n0: can wait\n1: soon\n2: now\n"
        "Answer with the number of one level only."
    )
    many = Question.score("How urgent?", [f"level {level}" for level in range(11)])
    assert (many.labels[0], many.labels[10], many.names[10]) == ("A", "K", "10")
    assert _prompt(many).endswith("K: level 10\nAnswer with the letter of one level only.")


@pytest.mark.parametrize(("options", "last"), [(26, "Z"), (27, "BA"), (255, "JU")])
def test_more_options_than_letters_have_pairs_of_them(options: int, last: str) -> None:
    names = [f"option {number}" for number in range(options)]
    question = Question("choice", "Which?", names, [""] * options)
    assert question.labels[-1] == last
    assert len(set(question.labels)) == options
    assert ("two letters" in _prompt(question)) == (options > 26)


def test_prompts_about_one_state_begin_alike() -> None:
    first, second = _prompt(Question.yes_no("One.")), _prompt(Question.score("Two?", ["a", "b"]))
    assert first.startswith(f"{_STATE}\n\n")
    assert second.startswith(f"{_STATE}\n\n")


def test_images_are_part_of_the_turn() -> None:
    item = Question.yes_no("A dog.").item("", [b"one", b"two"])
    assert [image.data for image in item.chat.messages[0].images] == [b"one", b"two"]
