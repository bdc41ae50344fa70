"""Requests as Claude Code sends them."""

from __future__ import annotations

import json

import httpx

from tests.clients.fleet import ANTHROPIC_WEATHER, QUESTION, THINKER, WEATHER_QUESTION, Fleet

CLAUDE_CODE_HEADERS = {
    "anthropic-version": "2023-06-01",
    "anthropic-beta": "claude-code-20250219,interleaved-thinking-2025-05-14,prompt-caching-scope-2026-01-05",
    "anthropic-dangerous-direct-browser-access": "true",
    "authorization": "Bearer any",
    "user-agent": "claude-cli/2.1.36 (external, cli)",
    "x-app": "cli",
    "x-stainless-lang": "js",
}


def claude_code_body(question: str) -> dict[str, object]:
    """A request as Claude Code builds it: blocks, cache_control, and large tools."""
    cached = {"cache_control": {"type": "ephemeral"}}
    properties = {
        f"option_{number}": {"type": "string", "description": "What it is for. " * 8} for number in range(40)
    }
    large = {
        "name": "Bash",
        "description": "Runs a command. " * 200,
        "input_schema": {
            "$schema": "https://json-schema.org/draft/2020-12/schema",
            "type": "object",
            "properties": {"command": {"type": "string"}, **properties},
            "required": ["command"],
            "additionalProperties": False,
        },
    }
    return {
        "model": THINKER,
        "max_tokens": 32_000,
        "stream": True,
        "system": [
            {"type": "text", "text": "x-anthropic-billing-header: cc_version=2.1.36.c2c; cch=1f2e3;"},
            {"type": "text", "text": "You are Claude Code.", **cached},
            {"type": "text", "text": "Be brief.", **cached},
        ],
        "messages": [
            {
                "role": "user",
                "content": [
                    {"type": "text", "text": "<system-reminder>A note.</system-reminder>"},
                    {"type": "text", "text": question, **cached},
                ],
            }
        ],
        "tools": [large, ANTHROPIC_WEATHER],
        "metadata": {"user_id": "user_1_account__session_2"},
        "thinking": {"type": "enabled", "budget_tokens": 31_999},
        "context_management": {"edits": []},
    }


def test_a_request_of_claude_code_is_answered(fleet: Fleet) -> None:
    url = f"{fleet.url}/v1/messages?beta=true"
    answer = httpx.post(url, json=claude_code_body(WEATHER_QUESTION), headers=CLAUDE_CODE_HEADERS, timeout=60)

    assert (answer.status_code, answer.headers["content-type"]) == (200, "text/event-stream")
    data = [json.loads(line[6:]) for line in answer.text.splitlines() if line.startswith("data: ")]
    started = [event["content_block"]["type"] for event in data if event["type"] == "content_block_start"]
    assert started == ["thinking", "tool_use"]
    assert data[-2]["delta"]["stop_reason"] == "tool_use"


def test_a_request_of_claude_code_is_counted(fleet: Fleet) -> None:
    body = claude_code_body(QUESTION)
    counted = {key: body[key] for key in ("model", "system", "messages", "tools", "thinking")}
    url = f"{fleet.url}/v1/messages/count_tokens?beta=true"
    answer = httpx.post(url, json=counted, headers=CLAUDE_CODE_HEADERS, timeout=60)

    assert list(answer.json()) == ["input_tokens"]
    assert answer.json()["input_tokens"] > 1000
