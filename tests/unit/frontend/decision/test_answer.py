"""The formulas, against numbers that were computed apart from them."""

from __future__ import annotations

import math

import pytest

from frontend.decision.answer import Answer

_CLOSE = 1.5e-6


@pytest.mark.parametrize(
    ("probabilities", "entropy", "choice", "score", "level"),
    [
        ([0.7, 0.2, 0.1], 0.270153, 0.55, 0.4, 0.4),
        ([0.1, 0.3, 0.6], 0.182655, 0.4, 0.25, 1.5),
        ([0.2, 0.6, 0.2], 0.135026, 0.4, 0.4, 1.0),
        ([0.45, 0.1, 0.45], 0.136260, 0.175, 0, 1.0),
        ([0.9, 0.1], 0.531004, 0.8, 0.8, 0.1),
        ([0.25] * 4, 0, 0, 0, 1.5),
        ([1.0, 0.0], 1, 1, 1, 0),
        ([0.0125, 0.9781, 0.0093], 0.890829, 0.96715, 0.9673, 0.9967),
    ],
)
def test_confidences_and_expected_levels(
    probabilities: list[float], entropy: float, choice: float, score: float, level: float
) -> None:
    answer = Answer(probabilities, 1.0)
    assert answer.entropy_confidence == pytest.approx(entropy, abs=_CLOSE)
    assert answer.choice_confidence == pytest.approx(choice, abs=1e-4)
    assert answer.score_confidence == pytest.approx(score, abs=1e-4)
    assert answer.score == pytest.approx(level, abs=1.5e-4)


def test_the_published_example_of_four_options() -> None:
    answer = Answer([0.966, 0.017, 0.010, 0.007], 1.0)
    assert answer.entropy_confidence == pytest.approx(0.8677, abs=5e-5)
    assert answer.choice_confidence == pytest.approx(0.9547, abs=5e-5)


@pytest.mark.parametrize(
    ("temperature", "probabilities", "entropy", "choice", "score", "level"),
    [
        (1, [0.645333, 0.289967, 0.064700], 0.254721, 0.467999, 0.370949, 0.419367),
        (2, [0.503282, 0.337360, 0.159358], 0.085383, 0.254923, 0.015887, 0.656075),
        (0.5, [0.825118, 0.166588, 0.008294], 0.547681, 0.737677, 0.725236, 0.183176),
    ],
)
def test_a_temperature_changes_probabilities_and_not_the_mass(
    temperature: float, probabilities: list[float], entropy: float, choice: float, score: float, level: float
) -> None:
    answer = Answer.of([-1.2, -2.0, -3.5], temperature)
    assert answer.label_mass == pytest.approx(0.466727, abs=_CLOSE)
    assert list(answer.probabilities) == pytest.approx(probabilities, abs=_CLOSE)
    assert answer.entropy_confidence == pytest.approx(entropy, abs=_CLOSE)
    assert answer.choice_confidence == pytest.approx(choice, abs=_CLOSE)
    assert answer.score_confidence == pytest.approx(score, abs=_CLOSE)
    assert answer.score == pytest.approx(level, abs=_CLOSE)


def test_logits_become_a_softmax() -> None:
    total = math.log(math.exp(0) + math.exp(2))
    assert list(Answer.of([0 - total, 2 - total]).probabilities) == pytest.approx(
        [0.119203, 0.880797], abs=_CLOSE
    )


def test_the_first_of_equal_labels_is_chosen() -> None:
    assert Answer.of([-2.0, -1.0, -1.0]).best == 1


def test_impossible_labels_are_equally_improbable() -> None:
    answer = Answer.of([-9999.0, -9999.0], temperature=0.01)
    assert (list(answer.probabilities), answer.label_mass) == ([0.5, 0.5], 0.0)
    assert list(Answer.of([-0.1, -9999.0], temperature=1e-4).probabilities) == [1.0, 0.0]


def test_one_label_is_certain() -> None:
    answer = Answer.of([-3.0])
    assert (answer.entropy_confidence, answer.choice_confidence, answer.score_confidence) == (1, 1, 1)
