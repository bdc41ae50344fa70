"""Endpoint, grammar and reader of each answer mode."""

from __future__ import annotations

import pytest

from drover.v1 import engine_pb2 as pb
from engine_worker.engines.llamacpp.answer_modes import (
    AnswerMode,
    DroverParsedAnswer,
    PlainAnswer,
    ReaderContext,
    ServerParsedAnswer,
)
from engine_worker.engines.llamacpp.api import LlamaApi
from engine_worker.engines.llamacpp.chat_output import ChatOutput
from engine_worker.engines.llamacpp.parsed_output import ParsedOutput
from engine_worker.engines.llamacpp.plain_output import PlainOutput
from engine_worker.engines.llamacpp.template import ChatTemplate
from engine_worker.engines.llamacpp.vocabulary import Vocabulary
from engine_worker.output.base import PlainText
from engine_worker.output.mailbox import Mailbox


class UnusedApi(LlamaApi):
    """Opens no session: these tests read no stream."""

    def __init__(self) -> None:
        pass


@pytest.mark.parametrize(
    ("mode", "endpoint", "grammar", "reader"),
    [
        (PlainAnswer("root ::= 1"), "/completion", "root ::= 1", PlainOutput),
        (DroverParsedAnswer("root ::= 2", PlainText()), "/completion", "root ::= 2", ParsedOutput),
        (ServerParsedAnswer(), "/v1/chat/completions", "", ChatOutput),
    ],
)
def test_a_mode_has_its_endpoint_grammar_and_reader(
    mode: AnswerMode, endpoint: str, grammar: str, reader: type
) -> None:
    context = ReaderContext(
        pb.GenerateRequest(), pb.Started(), Mailbox(), UnusedApi(), ChatTemplate(), Vocabulary()
    )

    assert (mode.endpoint, mode.grammar) == (endpoint, grammar)
    assert type(mode.reader(context)) is reader


@pytest.mark.parametrize(("requested", "top"), [(None, None), (0, 0), (3, 3)])
def test_log_probabilities_are_read_if_the_request_asks_for_them(
    requested: int | None, top: int | None
) -> None:
    request = pb.GenerateRequest(top_logprobs=requested)
    context = ReaderContext(request, pb.Started(), Mailbox(), UnusedApi(), ChatTemplate(), Vocabulary())

    assert context.top_logprobs == top
