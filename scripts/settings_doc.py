"""The settings tables in docs/settings.md, from the settings classes. `--check` only compares."""

from __future__ import annotations

import sys

from drover.settings import ProcessSettings
from engine_worker.host.settings import HostSettings
from engine_worker.settings import WorkerSettings
from frontend.settings import FrontendSettings
from scripts.generated_page import GeneratedPage, table


def settings_table(settings: type[ProcessSettings]) -> str:
    return table(
        ("flag", "environment variable", "default", "meaning"),
        (_row(settings, name) for name, _ in settings.documented()),
    )


def _row(settings: type[ProcessSettings], name: str) -> tuple[str, str, str, str]:
    field = dict(settings.documented())[name]
    default = field.get_default(call_default_factory=True)
    shown = ",".join(default) if isinstance(default, list) else str(default)
    variables = [settings.environment_variable(name), *settings.ollama_names_of(name)]
    return (
        f"`{settings.flag(name)}`",
        ", ".join(f"`{variable}`" for variable in variables),
        f"`{shown}`" if shown not in ("", "None") else "",
        (field.description or "").replace("|", "\\|"),
    )


PAGE = GeneratedPage(
    "settings.md",
    {
        "settings: frontend": settings_table(FrontendSettings),
        "settings: worker": settings_table(WorkerSettings),
        "settings: host": settings_table(HostSettings),
    },
    task="settings-doc",
)


if __name__ == "__main__":
    sys.exit(PAGE.main(sys.argv[1:]))
