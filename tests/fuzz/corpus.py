"""Seeds of mutations: recorded bodies, written ones for each route, and templates."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

from tests.fakes.transcripts import RECORDED, SCRIPTED, rows
from tests.fuzz.targets import ROUTES, TEMPLATES

_CALL = {
    "id": "call_1",
    "function": {"index": 0, "name": "f", "arguments": {"a": [1, None], "b": {"c": "d"}}},
}
_PROPERTIES = {"a": {"type": ["string", "null"], "enum": ["x"]}, "b": {"$ref": "#/$defs/b"}}
_SCHEMA = {"type": "object", "properties": _PROPERTIES, "$defs": {"b": {"anyOf": [{"type": "integer"}]}}}
_OPTIONS = {
    "temperature": 0.5,
    "seed": 42,
    "num_ctx": 512,
    "num_predict": 4,
    "stop": ["\n", "x"],
    "use_mmap": True,
}
_COMMON: dict[str, object] = {
    "model": "able", "stream": False, "options": _OPTIONS, "keep_alive": "1h30m", "think": "high",
    "format": _SCHEMA, "truncate": False, "shift": False, "logprobs": True, "top_logprobs": 3,
}  # fmt: skip
_MESSAGES = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "Hi", "images": ["YQ=="]},
    {"role": "assistant", "content": "", "thinking": "hm", "tool_calls": [_CALL]},
    {"role": "tool", "content": "42", "tool_name": "f", "tool_call_id": "call_1"},
]
_TOOL = {"type": "function", "function": {"name": "f", "description": "d", "parameters": _SCHEMA}}
_NAMED = {"model": "able", "name": "able", "stream": True, "insecure": True}
_BLOCKS = [
    {"type": "text", "text": "Hi", "cache_control": {"type": "ephemeral"}},
    {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "YQ=="}},
    {"type": "tool_use", "id": "call_1", "name": "f", "input": {"a": [1, None]}},
    {"type": "tool_result", "tool_use_id": "call_1", "content": [{"type": "text", "text": "42"}]},
    {"type": "document", "source": {"type": "text", "data": "A page."}},
]
_CONVERSATION = {
    "model": "able", "messages": [{"role": "user", "content": _BLOCKS}],
    "system": _BLOCKS[:1], "thinking": {"type": "enabled"}, "output_config": {"effort": "high"},
    "tools": [{"name": "f", "input_schema": _SCHEMA}], "tool_choice": {"type": "tool", "name": "f"},
    "stop_sequences": ["x"], "options": _OPTIONS, "keep_alive": "5m", "temperature": 0.5, "top_k": 3,
}  # fmt: skip
_ITEMS = [
    {"role": "user", "content": [{"type": "input_text", "text": "Hi"}]},
    {"role": "user", "content": [{"type": "input_image", "image_url": "data:image/png;base64,YQ=="}]},
    {"type": "reasoning", "summary": [{"type": "summary_text", "text": "hm"}], "encrypted_content": "hm"},
    {"type": "function_call", "call_id": "call_1", "name": "f", "namespace": "n", "arguments": "{}"},
    {"type": "function_call_output", "call_id": "call_1", "output": "42"},
]
_SUMMARY = {"type": "ollama_compaction", "version": 1, "summary": "s", "retained": [_MESSAGES[2]]}
_COMPACTED = [*_ITEMS, {"type": "compaction", "id": "cmp_1", "encrypted_content": json.dumps(_SUMMARY)}]
_CUSTOM = {
    "type": "custom",
    "name": "p",
    "description": "d",
    "format": {"type": "grammar", "syntax": "lark", "definition": "start: /x+/"},
}
_FUNCTION = {"type": "function", "name": "f", "parameters": _SCHEMA}
_FORMAT = {"type": "json_schema", "name": "x", "schema": _SCHEMA}
_EXTRAS = {
    "model": "able", "top_k": 5, "min_p": 0.1, "repetition_penalty": 1.1, "min_tokens": 2, "ignore_eos": True,
    "stop_token_ids": [1, 2], "no_stop_trim": True, "skip_special_tokens": False, "priority": -1, "rid": "r",
    "chat_template_kwargs": {"enable_thinking": False, "a": [1]}, "cache_salt": "s", "session_id": "t",
}  # fmt: skip
_OWN: Mapping[str, Sequence[object]] = {
    "/v1/chat/completions": [
        {
            **_EXTRAS,
            "messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Yes"}],
            "structured_outputs": {"choice": ["a", "b"]}, "continue_final_message": True,
            "add_generation_prompt": False, "separate_reasoning": False, "stream_reasoning": False,
        },
        {
            "model": "able", "messages": [{"role": "user", "content": "Hi"}],
            "guided_json": '{"type":"object"}',
        },
    ],
    "/v1/completions": [
        {**_EXTRAS, "prompt": "Hi", "regex": "[ab]+"},
        {"model": "able", "prompt": "Hi", "json_schema": '{"type":"object"}'},
        {"model": "able", "prompt": "Hi", "response_format": {"type": "json_object"}},
    ],
    "/api/tokenize": [{"model": "able", "content": "Hi", "keep_alive": "5m"}],
    "/api/detokenize": [{"model": "able", "tokens": [1, 2], "keep_alive": "5m"}],
    "/v1/tokenize": [
        {"model": "able", "prompt": ["Hi", "x"], "add_special_tokens": True},
        {"model": "able", "messages": [{"role": "user", "content": "Hi"}]},
    ],
    "/v1/detokenize": [{"model": "able", "tokens": [[1], [2, 3]]}],
    "/rerank": [{"query": "x", "texts": ["y", "z"], "raw_scores": True, "return_text": True, "top_n": 1}],
    "/v1/rerank": [
        {
            "model": "able", "query": [{"type": "text", "text": "x"}], "top_n": 1, "return_documents": True,
            "documents": ["y", {"text": "z"}, {"content": [{"type": "text", "text": "w"}]}, {"a": "b"}],
            "rank_fields": ["a", "c", "text"], "max_tokens_per_doc": 5, "truncate_prompt_tokens": 9,
            "truncation_side": "left", "use_activation": False, "instruction": "i", "keep_alive": "5m",
        },
    ],
    "/v2/rerank": [{"model": "able", "query": "x", "documents": ["y"], "max_tokens_per_doc": 5}],
    "/score": [
        {"queries": "x", "items": ["y", "z"], "use_activation": False},
        {
            "model": "able", "query": [1, 2], "items": [[3], [4, 5]], "label_token_ids": [[6, 7], [8, 9]],
            "apply_softmax": True, "temperature": 0.5, "return_token_logprobs": True, "item_first": True,
        },
    ],
    "/v1/score": [
        {"model": "able", "text_1": ["a", "b"], "text_2": ["c", "d"], "truncate_prompt_tokens": 9},
        {"data_1": {"content": [{"type": "text", "text": "w"}]}, "data_2": ["a", {"text": "b"}]},
    ],
    "/classify": [{"input": [[1, 2], [3]], "activation": False}],
    "/v1/classify": [
        {"model": "able", "input": ["a", "b"], "truncate_prompt_tokens": 9, "truncate": False},
        {"model": "able", "input": [1, 2, 3]},
    ],
    "/v1/messages": [{**_CONVERSATION, "max_tokens": 5, "stream": True}],
    "/v1/messages/count_tokens": [_CONVERSATION],
    "/v1/responses": [
        {
            "model": "able", "input": _ITEMS, "instructions": "i", "reasoning": {"effort": "low"},
            "tools": [_FUNCTION, {"type": "namespace", "name": "n", "tools": [_FUNCTION]}],
            "tool_choice": {"type": "function", "name": "f"}, "text": {"format": _FORMAT},
        },
        {
            "model": "able", "stream": True,
            "input": [
                {"type": "additional_tools", "role": "developer", "tools": [_CUSTOM, _FUNCTION]},
                {"role": "user", "content": "x"},
                {"type": "custom_tool_call", "call_id": "1", "namespace": "n", "name": "p", "input": "x\n"},
                {"type": "custom_tool_call_output", "call_id": "1", "output": "y"},
                {"type": "tool_search_call", "call_id": "2", "execution": "client", "arguments": {"q": "x"}},
                {"type": "tool_search_output", "call_id": "2", "execution": "client", "tools": [_FUNCTION]},
            ],
            "tools": [
                {"type": "tool_search", "execution": "client", "description": "d", "parameters": {}},
                {"type": "namespace", "name": "n", "tools": [_CUSTOM]},
            ],
            "tool_choice": {"type": "custom", "name": "p"},
        },
    ],
    "/v1/responses/compact": [{"model": "able", "input": _COMPACTED, "instructions": "i"}],
    "/v1/responses/input_tokens": [{"model": "able", "input": _COMPACTED, "tools": [_FUNCTION]}],
    "/api/chat": [
        {**_COMMON, "messages": _MESSAGES, "tools": [_TOOL]},
        {"model": "able", "messages": _MESSAGES[:1]},
    ],
    "/api/generate": [
        {**_COMMON, "prompt": "p", "suffix": "s", "system": "y", "template": "{{ .Prompt }}"},
        {"model": "able", "prompt": "p", "context": [1, 2]},
        {"model": "able", "prompt": "p", "raw": True, "images": ["YQ==", "YWI="], "_debug_render_only": True},
    ],
    "/api/embed": [
        {"model": "able", "input": ["a", "b"], "dimensions": 3, "keep_alive": -1, "options": _OPTIONS},
        {"model": "able", "input": "a"},
    ],
    "/api/embeddings": [{"model": "able", "prompt": "a", "keep_alive": 5.5, "options": _OPTIONS}],
    "/api/show": [
        {"model": "able", "name": "", "verbose": True, "system": "s", "template": "t", "options": _OPTIONS}
    ],
    "/api/create": [
        {
            "model": "ns/made:v1", "from": "able", "system": "s", "template": "{{ .System }}{{ .Prompt }}",
            "license": ["L1", "L2"], "parameters": _OPTIONS, "messages": _MESSAGES[:2], "stream": False,
        },
        {"name": "made", "files": {"a.gguf": "sha256:" + "ab" * 32}, "adapters": {}, "quantize": "q4_K_M"},
        {"model": "made", "from": "able", "license": "L"},
    ],
    "/api/copy": [{"source": "able", "destination": "host:1/ns/Copy:v1"}],
    "/api/delete": [{"model": "able"}, {"name": "able"}],
    "/v1/systemone": [
        {
            "model": "able", "state": {"a": [1, "b"]}, "images": ["YQ=="], "keep_alive": "5m",
            "questions": {
                "n": {"type": "noul", "instructions": "q", "criteria": {"true": "t", "false": "f"}},
                "c": {"type": "choice", "instructions": ["q"], "criteria": {"a": "d", "b": None}},
                "s": {"type": "score", "instructions": {"q": 1}, "criteria": ["low", "high"]},
            },
        }
    ],
    "/v1/decisions": [
        {
            "model": "able",
            "input": [
                {"role": "user", "content": [{"type": "input_text", "text": "t"}]},
                {"type": "function_call", "call_id": "1", "name": "f", "arguments": "{}"},
                {"type": "function_call_output", "call_id": "1", "output": "o"},
                {"role": "user", "content": [{"type": "input_json", "data": {"a": [1]}}]},
            ],
            "questions": [
                {"type": "predicate", "instructions": "q", "name": "n"},
                {"type": "choice", "instructions": "q", "choices": [{"value": "a"}, {"value": True}]},
                {"type": "score", "instructions": "q", "levels": [{"label": "l"}, {"label": "h"}]},
            ],
            "prompt_cache_key": "k",
        },
        {
            "model": "able", "input": {"a": 1}, "temperature": 0.5, "return_prompt_token_ids": True,
            "questions": [
                {"id": "y", "type": "yes_no", "question": "q", "yes": "t"},
                {"id": "c", "type": "choice", "question": "q", "options": [{"name": "a"}, {"name": "b"}]},
                {"id": "s", "type": "score", "question": "q", "levels": ["l", "h"]},
            ],
        },
    ],
    "/api/pull": [_NAMED],
    "/api/push": [_NAMED],
}  # fmt: skip
_TEMPLATES = (
    "{{ if .System }}<|im_start|>system\n{{ .System }}<|im_end|>\n{{ end }}{{ .Prompt }}{{ .Response }}",
    "{{- range $i, $_ := .Messages }}{{ if eq .Role \"user\" }}[INST]{{ .Content }}[/INST]{{ else }}"
    "{{ range .ToolCalls }}{{ json .Function.Arguments }}{{ end }}{{ end }}{{- end }}",
    "{{ define \"x\" }}{{ . }}{{ end }}{{ template \"x\" .Prompt }}{{ block \"y\" . }}{{ end }}",
    "{{ with $last := slice .Messages 0 }}{{ len $last | printf \"%d %q\" 1 }}{{ break }}{{ end }}",
    "{{/* a comment */}}{{ `raw` }}{{ 'c' }}{{ 0x1F }}{{ 1e3 }}{{ (index .Messages 0).Content }}",
    "{{ if and (or .Tools .System) (not .Suffix) (ne .Role \"a\") }}{{ else if .IsThinkSet }}{{ end }}",
)  # fmt: skip


def bodies() -> Mapping[str, Sequence[bytes]]:
    """By target: our own, and the recorded ones."""
    found: dict[str, list[bytes]] = {path: [] for path in ROUTES}
    for path, own in _OWN.items():
        found[path] += [json.dumps(body).encode() for body in own]
    for row in (*rows(RECORDED), *rows(SCRIPTED)):
        request = row["request"]
        body = request.get("body")
        if body is not None and request["path"] in found:
            found[request["path"]].append((body if isinstance(body, str) else json.dumps(body)).encode())
    templates = {*_TEMPLATES, *_templates_in(found)}
    found[TEMPLATES] = [template.encode() for template in sorted(templates)]
    return {target: list(dict.fromkeys(each)) for target, each in found.items()}


def _templates_in(found: Mapping[str, Sequence[bytes]]) -> list[str]:
    templates = []
    for body in (body for each in found.values() for body in each):
        try:
            value = json.loads(body)
        except ValueError:
            continue
        if isinstance(value, dict) and isinstance(value.get("template"), str):
            templates.append(value["template"])
    return templates
