"""Conversations are arranged as a chat template accepts them, and changed no more than that."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import pytest

from drover.errors import InvalidRequest
from drover.v1 import engine_pb2 as pb
from engine_worker.prompt.arrangements import (
    ARRANGEMENTS,
    Arrange,
    Messages,
    TemplateRefusal,
    arranged,
    as_sent,
    in_turns,
    probed,
    system_first,
    without_system,
)

Turns = list[tuple[str, str]]


def messages(*turns: tuple[str, str]) -> list[pb.Message]:
    return [pb.Message(role=role, content=content) for role, content in turns]


def turns(shown: Sequence[pb.Message]) -> Turns:
    return [(message.role, message.content) for message in shown]


@pytest.mark.parametrize(
    ("sent", "shown"),
    [
        ([("user", "U")], [("user", "U")]),
        ([("system", " S "), ("user", "U")], [("system", " S "), ("user", "U")]),
        ([("user", "U"), ("system", "S"), ("user", "V")], [("system", "S"), ("user", "U"), ("user", "V")]),
        ([("system", "S\n"), ("developer", "D"), ("user", "U")], [("system", "S\n\nD"), ("user", "U")]),
        ([("developer", "D"), ("user", "U")], [("system", "D"), ("user", "U")]),
        (
            [("system", "S"), ("user", "U"), ("assistant", "A"), ("tool", "T"), ("system", "L")],
            [("system", "S\n\nL"), ("user", "U"), ("assistant", "A"), ("tool", "T")],
        ),
        (
            [("system", "S"), ("user", "U"), ("assistant", "A"), ("system", "L"), ("system", "M")],
            [("system", "S"), ("user", "U"), ("assistant", "A"), ("user", "L\n\nM")],
        ),
        ([("system", "S"), ("system", "")], [("system", "S")]),
        ([], []),
    ],
)
def test_system_messages_are_one_at_the_front(sent: Turns, shown: Turns) -> None:
    assert turns(system_first(messages(*sent))) == shown


@pytest.mark.parametrize(
    ("sent", "shown"),
    [
        ([("user", "U"), ("user", "V"), ("assistant", "A")], [("user", "U\n\nV"), ("assistant", "A")]),
        (
            [("system", "S"), ("assistant", "A"), ("user", "U")],
            [("system", "S"), ("user", ""), ("assistant", "A"), ("user", "U")],
        ),
        ([("user", "U"), ("system", "S"), ("user", "V")], [("system", "S"), ("user", "U\n\nV")]),
        ([("system", "S")], [("system", "S"), ("user", "")]),
        (
            [("user", "U"), ("assistant", ""), ("tool", "1"), ("tool", "2")],
            [("user", "U"), ("assistant", ""), ("tool", "1"), ("tool", "2")],
        ),
    ],
)
def test_users_and_assistants_take_turns(sent: Turns, shown: Turns) -> None:
    assert turns(in_turns(messages(*sent))) == shown


def test_without_a_system_role_its_text_stands_before_the_users() -> None:
    sent = messages(("system", "S"), ("user", "U"), ("system", "T"), ("assistant", "A"))
    assert turns(without_system(sent)) == [("user", "S\n\nT\n\nU"), ("assistant", "A")]


def test_calls_and_images_stay() -> None:
    sent = messages(("user", "U"), ("user", "V"), ("assistant", "A"), ("assistant", "B"))
    sent[0].images.add(data=b"0")
    sent[1].images.add(data=b"1")
    sent[3].tool_calls.add(name="f")

    user, assistant = in_turns(sent)

    assert [image.data for image in user.images] == [b"0", b"1"]
    assert [call.name for call in assistant.tool_calls] == ["f"]
    assert len(sent[0].images) == 1


def plain(shown: Messages) -> str:
    return "".join(f"[{message.role}]{message.content}" for message in shown)


def one_system(shown: Messages) -> str:
    if any(message.role == "system" for message in shown[1:]):
        raise TemplateRefusal("A system message may only come first.")
    return plain(shown)


def forgetful(shown: Messages) -> str:
    """Leaves out later system messages without a word."""
    return plain([message for at, message in enumerate(shown) if at == 0 or message.role != "system"])


def taking_turns(shown: Messages) -> str:
    for at, message in enumerate(shown):
        if message.role not in ("user", "assistant") or (message.role == "user") != (at % 2 == 0):
            raise TemplateRefusal("Users and assistants take turns.")
    return plain(shown)


async def refusing(render: object, shown: Messages) -> str:
    assert callable(render)
    return str(render(shown))


@pytest.mark.parametrize(
    ("template", "first"),
    [(plain, as_sent), (one_system, system_first), (forgetful, system_first), (taking_turns, without_system)],
)
async def test_a_template_is_probed(template: object, first: Arrange) -> None:
    assert (await probed(partial(refusing, template)))[0] is first


@pytest.mark.parametrize("refusal", [TemplateRefusal("No."), InvalidRequest("No such role.")])
async def test_a_template_that_refuses_all_is_tried_with_each_request(refusal: Exception) -> None:
    async def render(shown: Messages) -> str:
        raise refusal

    assert await probed(render) == ARRANGEMENTS


async def test_the_first_arrangement_that_is_accepted_is_taken() -> None:
    sent = messages(("user", "U"), ("user", "V"))

    async def make(arrange: Arrange) -> str:
        return taking_turns(arrange(sent))

    assert await arranged(ARRANGEMENTS, make) == "[user]U\n\nV"


async def test_a_conversation_that_no_arrangement_fits_is_refused_with_the_templates_error() -> None:
    async def make(arrange: Arrange) -> str:
        raise TemplateRefusal("No such role: narrator" if arrange is as_sent else "something else")

    with pytest.raises(InvalidRequest) as raised:
        await arranged(ARRANGEMENTS, make)
    assert raised.value.message == (
        "the model's chat template does not accept these messages: No such role: narrator"
    )


async def test_failures_in_a_templates_code_are_not_shown_to_clients() -> None:
    async def make(arrange: Arrange) -> str:
        raise TemplateRefusal("", "While executing CallExpression at line 1")

    with pytest.raises(InvalidRequest) as raised:
        await arranged(ARRANGEMENTS, make)
    assert "CallExpression" not in raised.value.message
