"""OpenAI's Responses API, translated to and from the neutral request and events.

Contract: ollama-contract.md, "OpenAI: responses". A request's way:

responses.py             start here: POST /v1/responses
incoming.py              the body, with the stored items that it refers to
request.py               fields of the body to the neutral request
  items.py                 items of the input to messages
  tools.py                 tools, wherever they are in the request, and `tool_choice`
  custom_tools.py          a tool that takes text, as a function
encode.py                events to the bytes of the response
  output.py, calls.py      its items; the calls among them, as the client declared their tools
  custom_input.py          the text in the arguments of a custom tool's call
  usage.py                 its usage, also of a response that failed
errors.py                statuses and codes
input_tokens.py          POST /v1/responses/input_tokens

With --store-responses:

storing.py               stores a response, or starts it in the background
  stored_encode.py         encoders that keep the response object
  input_items.py           the items of the input, as they are stored
background.py            the tasks of responses that run here
  event_log.py             their events
  lost.py                  the end of those whose frontend has stopped
stored_routes.py         GET, DELETE, cancellation, input items
  event_stream.py          their events as a stream

Compaction:

compact.py               POST /v1/responses/compact, and the trigger in an input
  summary.py               what the model is asked
  compaction_response.py   one or two requests to it, and one item
  compaction_encode.py     the item as events, or as an object
compaction.py            the item, written and read
"""
