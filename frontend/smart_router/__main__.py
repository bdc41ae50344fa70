"""`python -m frontend.smart_router`: a conversation over two Ollama servers, in a terminal."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from frontend.smart_router.client.client import SmartRouter
from frontend.smart_router.client.conversation import FAILURES

_ENDS = frozenset({"quit", "exit", "q"})
_WELCOME = """\
A judge sends what is simple to {local} and the rest to {remote}.
/local and /remote before a message choose by hand; quit ends.
"""


def main(arguments: Sequence[str] | None = None) -> int:
    with _router(arguments) as router:
        _write(_WELCOME.format(local=router.local_model, remote=router.remote_model))
        _converse(router)
    _write("Goodbye!\n")
    return 0


def _converse(router: SmartRouter) -> None:
    messages: list[dict[str, object]] = []
    while (line := _read_line()) is not None:
        side, text = _split_side(line)
        if not text:
            continue
        messages.append({"role": "user", "content": text})
        try:
            answer = _stream(router, messages, side)
        except (*FAILURES, KeyboardInterrupt) as error:
            messages.pop()
            _write(f"\n{type(error).__name__}: {error}\n")
            continue
        messages.append({"role": "assistant", "content": answer})


def _router(arguments: Sequence[str] | None) -> SmartRouter:
    parser = argparse.ArgumentParser(prog="python -m frontend.smart_router", description=__doc__)
    parser.add_argument("--local-host", default="http://localhost:11434")
    parser.add_argument("--remote-host", default="http://localhost:30001")
    parser.add_argument("--local-model", default="llama3.2")
    parser.add_argument("--remote-model", default="Qwen/Qwen2.5-1.5B-Instruct")
    parser.add_argument("--judge-model", help="default: the local model")
    parser.add_argument("--judge-host", help="default: the local host")
    parser.add_argument("--judge-timeout-seconds", type=float, default=10.0)
    return SmartRouter(**vars(parser.parse_args(arguments)))


def _read_line() -> str | None:
    """None when the user ends the conversation."""
    try:
        line = input("You: ").strip()
    except (EOFError, KeyboardInterrupt):
        return None
    return None if line.lower() in _ENDS else line


def _split_side(line: str) -> tuple[str, str]:
    """The command for a side, empty for none, and the message."""
    for side in ("/local", "/remote"):
        if line.startswith(f"{side} "):
            return side, line.removeprefix(side).strip()
    return "", line


def _stream(router: SmartRouter, messages: list[dict[str, object]], side: str) -> str:
    answer = ""
    parts = router.chat_stream(
        "", messages, verbose=True, force_local=side == "/local", force_remote=side == "/remote"
    )
    for part in parts:
        text = part.message.content or ""
        answer += text
        _write(text)
    _write("\n")
    return answer


def _write(text: str) -> None:
    sys.stdout.write(text)
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
