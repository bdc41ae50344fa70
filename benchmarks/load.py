"""A load client for any Ollama server: many streams at once, speed, gaps, and whether they are sound.

Each stream asks one question after the other over a kept-alive connection. All lines are read and checked:
that they are what the API says, that each answer ends, and that nothing comes after its end. The first
requests of all streams count too, so a server that loads its model first should be asked once before.

Exits with 1 if an answer was broken or refused, and with 2 if the server cannot be reached.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import get_args
from urllib.parse import urlsplit

import uvloop

from benchmarks.client.dialects import DIALECTS, Name
from benchmarks.client.load import Load, Totals


def main() -> int:
    asked = _options()
    url = urlsplit(asked.url if "//" in asked.url else f"http://{asked.url}")
    if not url.hostname or url.scheme not in ("http", "https"):
        print(f"--url {asked.url!r} is no http:// or https:// address", file=sys.stderr)
        return 2
    tls = url.scheme == "https"
    address = f"{url.hostname}:{url.port or (443 if tls else 80)}"
    load = Load(
        address,
        tls,
        DIALECTS[asked.api],
        asked.model,
        asked.prompt,
        asked.tokens,
        asked.seconds,
        asked.streams,
        asked.rate,
    )
    totals = Totals()
    try:
        uvloop.run(load.run(totals))
    except OSError as error:
        print(f"{address} cannot be reached: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
    print(totals.report())
    if asked.json:
        asked.json.write_text(json.dumps(totals.raw(), indent=1) + "\n", encoding="utf-8")
    return 1 if totals.problems else 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.load",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--url", required=True, help="the server, such as http://127.0.0.1:11434")
    parser.add_argument("--model", required=True)
    parser.add_argument("--streams", type=int, default=16, help="at the same time (default 16)")
    parser.add_argument("--seconds", type=float, default=30, help="no new questions after this (default 30)")
    parser.add_argument("--tokens", type=int, default=128, help="of an answer at most (default 128)")
    parser.add_argument("--rate", type=float, help="new questions a second, of all streams together")
    parser.add_argument("--api", choices=get_args(Name), default="chat", help="(default: chat, Ollama's)")
    parser.add_argument("--prompt", default="Write a long story about a lighthouse keeper.")
    parser.add_argument("--json", type=Path, help="a file for the numbers")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
