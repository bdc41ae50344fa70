"""Fuzz targets for /v1/messages and /v1/responses; see targets.py."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from drover.v1 import engine_pb2 as pb
from frontend.api.anthropic.encode import MessagesEncoder
from frontend.api.anthropic.request import MessagesRequest
from frontend.api.core.conversion import CheckedRequest
from frontend.api.core.go_json import loads
from frontend.api.openai.responses.compact import CompactRequest
from frontend.api.openai.responses.compaction_encode import CompactionEvents, CompactionObject
from frontend.api.openai.responses.encode import ResponsesEncoder
from frontend.api.openai.responses.output import OutputItems
from frontend.api.openai.responses.request import ResponsesRequest
from frontend.api.openai.responses.summary import SummaryRequests
from frontend.models.model import CatalogModel

ForEveryModel = Callable[[Callable[[CatalogModel], object]], None]
_ANSWER = [pb.GenerateEvent(deltas=[pb.Delta(content="a")]), pb.GenerateEvent(done=pb.Done())]


def targets(for_every_model: ForEveryModel) -> Mapping[str, Callable[[bytes], None]]:
    def messages(body: bytes) -> None:
        parsed = MessagesRequest.read(loads(body))
        MessagesEncoder(parsed.chat.model, parsed.stop_sequences).body(_ANSWER)
        for_every_model(lambda model: _converted(parsed, model))

    def count_tokens(body: bytes) -> None:
        parsed = MessagesRequest.read_to_count(loads(body))
        for_every_model(lambda model: _converted(parsed, model))

    def responses(body: bytes) -> None:
        parsed = ResponsesRequest.read(loads(body))
        ResponsesEncoder(parsed.echo, OutputItems(parsed.tools.origins)).body(_ANSWER)
        for_every_model(lambda model: _converted(parsed, model))

    def compact(body: bytes) -> None:
        parsed = CompactRequest.read(loads(body))
        chat = parsed.request.chat
        asked = SummaryRequests(chat, parsed.request.tool_choice, 4096)
        output = OutputItems({})
        CompactionObject(output, parsed.kept).compacted(asked.fallback(), pb.Done())
        CompactionEvents(parsed.request.echo, output).compacted(asked.compaction("a"), pb.Done())
        for_every_model(lambda model: _asked(asked, model))

    def input_tokens(body: bytes) -> None:
        parsed = ResponsesRequest.read(loads(body))
        for_every_model(lambda model: _converted(parsed, model))

    return {
        "/v1/messages": messages,
        "/v1/messages/count_tokens": count_tokens,
        "/v1/responses": responses,
        "/v1/responses/compact": compact,
        "/v1/responses/input_tokens": input_tokens,
    }


def _asked(asked: SummaryRequests, model: CatalogModel) -> None:
    for chat, extend in (asked.first(), asked.second()):
        request = CheckedRequest.of(chat, model).to_proto(0)
        extend(request)
        request.SerializeToString()


def _converted(parsed: MessagesRequest | ResponsesRequest, model: CatalogModel) -> bytes:
    request = CheckedRequest.of(parsed.chat, model).to_proto(0)
    if isinstance(parsed, ResponsesRequest):
        parsed.extend(request, "caller", "session")
    else:
        parsed.set_tool_choice(request)
    return request.SerializeToString()
