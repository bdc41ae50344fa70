"""What needs no judge."""

from __future__ import annotations

from frontend.models.virtual_definition import VirtualModel
from frontend.smart_router.decisions import Decision, Reason
from frontend.smart_router.question import Question


def by_rule(question: Question, definition: VirtualModel) -> Decision | None:
    """The first rule that applies."""
    is_long = 0 < definition.long_characters <= question.characters
    rules = (
        (question.has_images, definition.images, Reason.IMAGES),
        (question.has_tools, definition.tools, Reason.TOOLS),
        (is_long, definition.long, Reason.LENGTH),
    )
    return next(
        (Decision(side, reason) for applies, side, reason in rules if applies and side is not None), None
    )
