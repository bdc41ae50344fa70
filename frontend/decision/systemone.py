"""A decision in the form of Ollama's /v1/systemone, for models on Ollama servers."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Sequence

import orjson

from drover.json_value import Json
from frontend.decision.question import Question


def systemone_json(state: str, questions: Sequence[Question], images: Sequence[bytes] = ()) -> str:
    """The body without the model, its questions named by their numbers; empty for questions that the form has
    no words for: options with the same name, and images of one question only.
    """
    if any(question.images or len(set(question.names)) < len(question.names) for question in questions):
        return ""
    body: dict[str, Json] = {
        "state": state,
        "questions": {str(at): _question(question) for at, question in enumerate(questions)},
    }
    if images:
        body["images"] = [b64encode(image).decode() for image in images]
    return orjson.dumps(body).decode()


def _question(question: Question) -> dict[str, Json]:
    match question.kind:
        case "choice":
            options = zip(question.names, question.details, strict=True)
            criteria: Json = {name: detail or None for name, detail in options}
            kind = "choice"
        case "score":
            kind, criteria = "score", list(question.details)
        case "yes_no":
            sides = zip(("true", "false"), question.details, strict=True)
            kind, criteria = "noul", {side: detail for side, detail in sides if detail}
    return {"type": kind, "instructions": question.text, "criteria": criteria}
