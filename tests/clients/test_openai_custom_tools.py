"""Custom tools, namespaces and the tool search of the Responses API through OpenAI's official client, whose
streaming helper checks the identity of each item.
"""

from __future__ import annotations

from collections.abc import AsyncIterator

import openai
import pytest

from tests.clients.both import collected, opened, settled
from tests.clients.fleet import (
    FIND_QUESTION,
    HARD_QUESTION,
    PATCH,
    PATCH_QUESTION,
    SEARCH_QUESTION,
    THINKER,
    Fleet,
)

_TIMEOUT_SECONDS = 60
_LARK = "start: /(.|\\n)+/"
APPLY_PATCH = {
    "type": "custom",
    "name": "apply_patch",
    "description": "Edits files.",
    "format": {"type": "grammar", "syntax": "lark", "definition": _LARK},
}
CRM = {
    "type": "namespace",
    "name": "crm",
    "description": "Customers.",
    "tools": [{"type": "custom", "name": "find", "description": "Finds a customer."}],
}
SEARCH = {
    "type": "tool_search",
    "execution": "client",
    "description": "Finds tools.",
    "parameters": {"type": "object", "properties": {"query": {"type": "string"}}},
}


@pytest.fixture(params=["sync", "async"])
async def client(request: pytest.FixtureRequest, fleet: Fleet) -> AsyncIterator[openai.AsyncOpenAI]:
    kind = openai.AsyncOpenAI if request.param == "async" else openai.OpenAI
    made = kind(base_url=f"{fleet.url}/v1", api_key="any", timeout=_TIMEOUT_SECONDS, max_retries=0)
    async with opened(made) as client:
        yield client


async def test_a_custom_tool_s_input_streams(client: openai.AsyncOpenAI) -> None:
    async with opened(
        client.responses.stream(model=THINKER, input=PATCH_QUESTION, tools=[APPLY_PATCH])
    ) as stream:
        events = await collected(stream)
        final = await settled(stream.get_final_response())

    deltas = [event.delta for event in events if event.type == "response.custom_tool_call_input.delta"]
    (ended,) = (event for event in events if event.type == "response.custom_tool_call_input.done")
    assert "".join(deltas) == ended.input == PATCH
    thought, text, call = final.output
    assert (thought.type, text.content[0].text) == ("reasoning", "I patch.")
    assert (call.type, call.name, call.input) == ("custom_tool_call", "apply_patch", PATCH)
    assert call.namespace is None
    usage = final.usage
    assert usage.total_tokens == usage.input_tokens + usage.output_tokens
    assert usage.input_tokens_details.cache_write_tokens == 0
    assert usage.input_tokens_details.cached_tokens >= 0
    assert usage.output_tokens_details.reasoning_tokens > 0


async def test_a_custom_tool_in_a_namespace(client: openai.AsyncOpenAI) -> None:
    async with opened(client.responses.stream(model=THINKER, input=FIND_QUESTION, tools=[CRM])) as stream:
        await collected(stream)
        final = await settled(stream.get_final_response())

    (call,) = final.output
    assert (call.type, call.namespace, call.name, call.input) == ("custom_tool_call", "crm", "find", "Ada")


async def test_a_loop_with_a_search_and_the_tools_that_it_found(client: openai.AsyncOpenAI) -> None:
    """The answer's items are sent back unchanged."""
    conversation: list[object] = [{"role": "user", "content": SEARCH_QUESTION}]
    async with opened(client.responses.stream(model=THINKER, input=conversation, tools=[SEARCH])) as stream:
        await collected(stream)
        first = await settled(stream.get_final_response())
    (search,) = first.output
    assert (search.type, search.execution) == ("tool_search_call", "client")
    assert search.arguments == {"query": "customers"}

    conversation += [
        search,
        {
            "type": "tool_search_output",
            "call_id": search.call_id,
            "execution": "client",
            "status": "completed",
            "tools": [CRM],
        },
        {"role": "user", "content": FIND_QUESTION},
    ]
    second = await settled(client.responses.create(model=THINKER, input=conversation, tools=[SEARCH]))
    (call,) = second.output
    assert (call.namespace, call.name, call.input) == ("crm", "find", "Ada")

    conversation += [
        call,
        {"type": "custom_tool_call_output", "call_id": call.call_id, "output": "Found."},
        {"role": "user", "content": HARD_QUESTION},
    ]
    last = await settled(client.responses.create(model=THINKER, input=conversation, tools=[SEARCH]))
    assert last.output_text == "It is 391."


async def test_tools_in_an_item_of_the_input(client: openai.AsyncOpenAI) -> None:
    items = [
        {"type": "additional_tools", "role": "developer", "tools": [CRM]},
        {"role": "user", "content": FIND_QUESTION},
    ]
    answer = await settled(client.responses.create(model=THINKER, input=items))

    (call,) = answer.output
    assert (call.namespace, call.name, call.input) == ("crm", "find", "Ada")


async def test_a_grammar_that_is_only_described_is_named(client: openai.AsyncOpenAI) -> None:
    answer = await settled(
        client.responses.with_raw_response.create(model=THINKER, input=PATCH_QUESTION, tools=[APPLY_PATCH])
    )
    assert answer.headers["x-drover-not-honoured"] == "tools.format"
