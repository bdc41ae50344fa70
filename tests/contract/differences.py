"""Where Drover answers otherwise than the recorded server on purpose, and why.

A difference is by case: in STATUS another status is meant, in BODY only the body differs. What is listed here
and does not differ any more fails the test, so that the list stays true.
"""

from __future__ import annotations

_ACCOUNTS = "there are no accounts here; the recording shows a server that could not reach ollama.com"
_INHERITED = (
    "what a worker brings (template, parameters) is joined when the preset is used, and is no layer of it"
)
_FORCED = "without a temperature of its own a request of /v1 gets 1.0"
_CODE = "a missing model has OpenAI's code for it, at which Codex does not ask again"

STATUS: dict[str, str] = {
    "me": _ACCOUNTS,
    "signout": _ACCOUNTS,
}
BODY: dict[str, str] = {
    "get /v1/models/nope": _CODE,
    "body null /v1/completions": _CODE,
    "v1 chat missing": _CODE,
    "get /api/version": "the recorded server was built without a version; clients want numbers",
    "get /api/status": "the cloud is off by what Drover is, not by an environment variable",
    "get /api/experimental/model-recommendations": "nothing is recommended that is not here",
    "chat format bad schema": "the schema is refused by llguidance, which has words of its own",
    "generate format json": "another grammar for any JSON object: other values after some tokens",
    "create bad parameter": _INHERITED,
    "create unknown parameter": _INHERITED,
}
# What is said is drawn, and only the rest is compared.
SAMPLED: dict[str, str] = {
    "chat created": "at a temperature of 0.3 the first token ends the answer two times out of three",
    "v1 chat effort none": _FORCED,
    "v1 chat content parts": _FORCED,
}
