"""Request bodies as the CLI's Go structs give them: their order, and the empty fields that are sent."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

Options = Mapping[str, object]
Message = Mapping[str, object]


def marshal(value: object) -> bytes:
    """Encode as Go's json.Marshal does: compact UTF-8, with characters special in HTML escaped."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return text.encode()


def _sorted(options: Options | None) -> Options | None:
    """Go writes the keys of a map in order."""
    return None if options is None else dict(sorted(options.items()))


def _given(**fields: object) -> dict[str, object]:
    """Fields with `omitempty`."""
    return {
        name: value for name, value in fields.items() if value not in (None, "", 0, [], {}) or value is False
    }


def show(
    name: str = "",
    *,
    model: str = "",
    system: str = "",
    verbose: bool = False,
    options: Options | None = None,
) -> bytes:
    return marshal(
        {
            "model": model,
            "system": system,
            "template": "",
            "verbose": verbose,
            "options": _sorted(options),
            "name": name,
        }
    )


def generate(
    model: str,
    prompt: str = "",
    *,
    context: Sequence[int] = (),
    output_format: str = "",
    keep_alive: str = "",
    options: Options | None = None,
    think: bool | str | None = None,
) -> bytes:
    return marshal(
        {
            "model": model,
            "prompt": prompt,
            "suffix": "",
            "system": "",
            "template": "",
            **_given(context=list(context), format=output_format, keep_alive=keep_alive),
            "options": _sorted(options),
            **_given(think=think),
        }
    )


def chat(
    model: str, messages: Sequence[Message], *, options: Options, think: bool | str | None = None
) -> bytes:
    body = {"model": model, "messages": messages, "options": _sorted(options)}
    return marshal({**body, **_given(think=think)})


def embed(
    model: str, text: str, *, keep_alive: str = "", truncate: bool | None = None, dimensions: int = 0
) -> bytes:
    given = _given(keep_alive=keep_alive, truncate=truncate, dimensions=dimensions)
    return marshal({"model": model, "input": text, **given, "options": None})


def create(
    model: str,
    *,
    source: str = "",
    files: Mapping[str, str] | None = None,
    template: str = "",
    licenses: Sequence[str] = (),
    system: str = "",
    parameters: Options | None = None,
    messages: Sequence[Message] = (),
) -> bytes:
    given = {
        "from": source,
        "files": files,
        "template": template,
        "license": list(licenses),
        "system": system,
        "parameters": _sorted(parameters),
        "messages": list(messages),
    }
    return marshal({"model": model, **_given(**given), "name": ""})


def copy(source: str, destination: str) -> bytes:
    return marshal({"source": source, "destination": destination})


def delete(name: str) -> bytes:
    return marshal({"model": "", "name": name})


def transfer(name: str, *, insecure: bool = False) -> bytes:
    """A pull or a push."""
    given = {"insecure": True} if insecure else {}
    return marshal({"model": "", **given, "username": "", "password": "", "name": name})
