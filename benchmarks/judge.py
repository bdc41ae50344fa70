"""Agreement of a virtual model's judge with labelled prompts, against a running frontend.

Each prompt is sent to the virtual model once, for one token. The judge agrees if the model that answers is
that of the prompt's label. Prompts that the judge did not decide (late, failed, unclear, unsure) are counted
apart: the default side answered them.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx

_PROMPTS = Path(__file__).with_name("judge_prompts.json")
_DECIDED = ("judge", "judge (kept)")


@dataclass(frozen=True, slots=True)
class Outcome:
    """`probability`: None where the judge generated a label."""

    label: str
    prompt: str
    model: str
    reason: str
    probability: float | None


def main() -> int:
    asked = _options()
    prompts = json.loads(Path(asked.prompts).read_text(encoding="utf-8"))
    sides = dict(each.split("=", 1) for each in asked.sides)
    outcomes = list(_ask(asked.url, asked.model, prompts))
    for outcome in outcomes:
        mark = "agrees" if sides[outcome.label] == outcome.model else "differs"
        share = "" if outcome.probability is None else f"{outcome.probability:.3f}"
        print(f"{mark:8} {outcome.label:8} {outcome.reason:14} {share:6} {outcome.prompt}")
    _summarise(outcomes, sides)
    return 0


def _ask(url: str, model: str, prompts: dict[str, list[str]]) -> Iterator[Outcome]:
    with httpx.Client(base_url=url, timeout=120) as client:
        for label, texts in prompts.items():
            for text in texts:
                yield _outcome(client, model, label, text)


def _outcome(client: httpx.Client, model: str, label: str, text: str) -> Outcome:
    body = {
        "model": model,
        "messages": [{"role": "user", "content": text}],
        "stream": False,
        "options": {"num_predict": 1},
    }
    answer = client.post("/api/chat", json=body).raise_for_status()
    share = answer.headers.get("x-drover-route-probability")
    return Outcome(
        label,
        text,
        answer.headers["x-drover-routed-model"],
        answer.headers["x-drover-route-reason"],
        None if share is None else float(share),
    )


def _summarise(outcomes: list[Outcome], sides: dict[str, str]) -> None:
    for label in dict.fromkeys(outcome.label for outcome in outcomes):
        of_label = [outcome for outcome in outcomes if outcome.label == label]
        agreed = sum(sides[label] == outcome.model for outcome in of_label)
        print(f"{label}: {agreed} of {len(of_label)} agree")
    reasons = Counter(outcome.reason for outcome in outcomes)
    undecided = sum(count for reason, count in reasons.items() if reason not in _DECIDED)
    agreed = sum(sides[outcome.label] == outcome.model for outcome in outcomes)
    print(f"all: {agreed} of {len(outcomes)} agree, {undecided} were not decided by the judge")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--url", default="http://127.0.0.1:11434")
    parser.add_argument("--model", default="auto", help="the virtual model")
    parser.add_argument(
        "--sides",
        nargs="+",
        default=["simple=small:latest", "complex=big:latest"],
        help="LABEL=MODEL for each label of the prompts, with the model's tag",
    )
    parser.add_argument("--prompts", default=str(_PROMPTS), help="a JSON file: prompts by their label")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
