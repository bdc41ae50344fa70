"""A question about a state, and the prompt after which its labels are scored.

The wording is that of SGLang 0.5.23 (prompt format version 1), so that the same model gives the same
probabilities here and there. The state comes first: the prompts of several questions share its prefill.
"""

from __future__ import annotations

import string
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice, product
from typing import Literal

from drover.v1 import engine_pb2 as pb

Kind = Literal["choice", "score", "yes_no"]
# The answers of a yes_no question, in the order of its labels.
YES, NO = "yes", "no"
PROMPT_FORMAT_VERSION = 1
MAX_OPTIONS = 255
_LETTERS = string.ascii_uppercase
_DIGITS = string.digits


@dataclass(frozen=True, slots=True)
class Question:
    """`names`: the options of a choice, the levels' numbers of a score, or yes and no. `details`: what each
    of them means, empty where the client does not say; of a score the levels' texts. `images`: of the
    question's own text.
    """

    kind: Kind
    text: str
    names: Sequence[str]
    details: Sequence[str]
    images: Sequence[bytes] = ()

    @classmethod
    def yes_no(cls, text: str, yes: str = "", no: str = "") -> Question:
        return cls("yes_no", text, (YES, NO), (yes, no))

    @classmethod
    def score(cls, text: str, levels: Sequence[str]) -> Question:
        return cls("score", text, [str(level) for level in range(len(levels))], levels)

    @property
    def labels(self) -> Sequence[str]:
        """What the model is asked to say, one token each. Numbers of two digits are often two tokens: more
        levels than ten have letters. More options than letters have pairs of letters.
        """
        if self.kind == "yes_no":
            return self.names
        count = len(self.names)
        if self.kind == "score" and count <= len(_DIGITS):
            return _DIGITS[:count]
        if count <= len(_LETTERS):
            return _LETTERS[:count]
        return ["".join(pair) for pair in islice(product(_LETTERS, repeat=2), count)]

    def item(self, state: str, images: Sequence[bytes] = ()) -> pb.ScoreItem:
        """The prompt is one user turn: the state, an empty line, the question."""
        item = pb.ScoreItem(labels=self.labels)
        item.chat.messages.add(
            role="user",
            content="\n".join([state, "", *self._lines()]),
            images=[pb.Media(data=image) for image in (*images, *self.images)],
        )
        return item

    def _lines(self) -> Sequence[str]:
        match self.kind:
            case "choice":
                options = zip(self.labels, self.names, self.details, strict=True)
                lines = [f"{label}: {name}" + _after(detail) for label, name, detail in options]
                return [*self._question(), *lines, f"Answer with the {self._form} of one option only."]
            case "score":
                lines = [f"{label}: {level}" for label, level in zip(self.labels, self.details, strict=True)]
                return [*self._question(), *lines, f"Answer with the {self._form} of one level only."]
            case "yes_no":
                sides = zip(self.labels, self.details, strict=True)
                lines = [f"{label}: {detail}" for label, detail in sides if detail]
                asked = f"Is the following true? {self.text}".rstrip()
                return [asked, *lines, "Answer with yes or no only."]

    def _question(self) -> Sequence[str]:
        return [f"Question: {self.text}"] if self.text else []

    @property
    def _form(self) -> str:
        label = self.labels[0]
        if label in _DIGITS:
            return "number"
        return "letter" if len(label) == 1 else "two letters"


def _after(detail: str) -> str:
    return f" - {detail}" if detail else ""
