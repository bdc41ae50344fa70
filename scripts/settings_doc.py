"""The settings tables in docs/settings.md, written from the Settings classes. `--check` only compares."""

from __future__ import annotations

import sys
from pathlib import Path

from drover.settings import ProcessSettings
from engine_worker.settings import WorkerSettings
from frontend.settings import FrontendSettings

PAGE = Path(__file__).resolve().parent.parent / "docs" / "settings.md"
TABLES: dict[str, type[ProcessSettings]] = {"frontend": FrontendSettings, "worker": WorkerSettings}


def table(settings: type[ProcessSettings]) -> str:
    lines = ["| flag | environment variable | default | meaning |", "|---|---|---|---|"]
    for name, field in settings.documented():
        default = field.get_default(call_default_factory=True)
        shown = ",".join(default) if isinstance(default, list) else str(default)
        meaning = " ".join((field.description or "").split()).replace("|", "\\|")
        variables = [settings.environment_variable(name), *settings.ollama_names_of(name)]
        named = ", ".join(f"`{variable}`" for variable in variables)
        lines.append(f"| `{settings.flag(name)}` | {named} | {_cell(shown)} | {meaning} |")
    return "\n".join(lines)


def _cell(value: str) -> str:
    return f"`{value}`" if value not in ("", "None") else ""


def rewritten(text: str) -> str:
    for name, settings in TABLES.items():
        before, begin, rest = text.partition(f"<!-- settings: {name} -->\n")
        _, end, after = rest.partition("<!-- end -->")
        if not (begin and end):
            raise SystemExit(f"docs/settings.md: there is no place for the settings of the {name}")
        text = f"{before}{begin}{table(settings)}\n{end}{after}"
    return text


def main() -> int:
    text = PAGE.read_text()
    fresh = rewritten(text)
    if "--check" in sys.argv[1:]:
        if fresh != text:
            print("docs/settings.md is out of date: run 'make settings-doc'", file=sys.stderr)
            return 1
        return 0
    PAGE.write_text(fresh)
    return 0


if __name__ == "__main__":
    sys.exit(main())
