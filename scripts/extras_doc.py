"""The tables in docs/extras.md, from the table of the extensions. `--check` only compares."""

from __future__ import annotations

import sys

from frontend.api.openai.extras.table import ENGINES, EXTRAS, Extra
from frontend.api.openai.extras.unread import REFUSALS, UNUSED
from scripts.generated_page import GeneratedPage, table

_TITLES = {"sglang": "SGLang", "llamacpp": "llama.cpp", "simulator": "simulator", "ollama": "Ollama servers"}


def extras_table() -> str:
    return table(
        ("field", "whose", "routes", "meaning", *(_TITLES[engine] for engine in ENGINES)), map(_row, EXTRAS)
    )


def _row(extra: Extra) -> tuple[str, ...]:
    about = extra.about.replace("|", "\\|")
    if extra.named_as:
        about += f" Named as `{extra.named_as}`."
    support = (extra.at(engine) for engine in ENGINES)
    return (f"`{extra.name}`", extra.whose, ", ".join(extra.routes), about, *support)


PAGE = GeneratedPage(
    "extras.md",
    {
        "extras: read": extras_table(),
        "extras: refused": table(
            ("field", "why"), ((f"`{refusal.name}`", refusal.about) for refusal in REFUSALS)
        ),
        "extras: named": table(("field", "why"), ((f"`{unused.name}`", unused.about) for unused in UNUSED)),
    },
    task="extras-doc",
)


if __name__ == "__main__":
    sys.exit(PAGE.main(sys.argv[1:]))
