"""What the simulators answer."""

from __future__ import annotations

MARKUP = '<b id="made">bold</b> & <i>slanted</i>'
SCRIPT = [
    {"match": "markup", "events": [{"text": MARKUP}]},
    {
        "match": "weather",
        "events": [
            {"thinking": "They ask for the weather, so a tool has to be called."},
            {"text": "Let me look."},
            {"tool_call": {"name": "get_weather", "arguments": {"city": "<b>Bern</b>"}}},
        ],
    },
    {
        "match": "slowly",
        "events": [
            {"text": "It begins. "},
            {"pause_ms": 400},
            {"text": "It continues. "},
            {"pause_ms": 60_000},
            {"text": "It ends."},
        ],
    },
    {"match": "hold", "events": [{"text": "It begins. "}, {"pause_ms": 2500}, {"text": "It ends."}]},
    {"match": "break", "events": [{"text": "It begins. "}, {"fail": "the engine broke"}]},
]
